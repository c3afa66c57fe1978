from importlib import metadata

from typer.testing import CliRunner

from merganser.cli.main import app


def test_version_is_that_of_the_installed_distribution() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout == f"merganser {metadata.version('merganser')}\n"
