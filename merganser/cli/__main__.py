from merganser.cli.main import main

main()
