"""``python -m orm.cli``, for when the command `orm` is not on the path."""

from orm.cli import main

main(prog_name="orm")
