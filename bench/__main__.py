"""`python -m bench [NAME ...] [--json]`: those benchmarks, or all."""

import argparse

from bench import big_merge, many_ids, properties, read_api, resolver, segment

BENCHMARKS = {
    "resolver": resolver.main,
    "many-ids": many_ids.main,
    "big-merge": big_merge.main,
    "properties": properties.main,
    "read-api": read_api.main,
    "segment": segment.main,
}

parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
parser.add_argument("name", nargs="*", default=list(BENCHMARKS), metavar=" | ".join(BENCHMARKS))
parser.add_argument("--json", action="store_true", help="one object a line, where there is a ratio")
for chosen in parser.parse_args().name:
    BENCHMARKS[chosen]()
