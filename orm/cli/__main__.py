"""``python -m orm.cli``: where `orm` is not on the path."""

from orm.cli import main

main(prog_name="orm")
