<%!
    def quoted(text):
        return text.replace("\\", "\\\\").replace('"' * 3, '\\"' * 3)
%>\
"""${quoted(message)}
% if context.get("remarks"):

${quoted(remarks)}\
% endif

Created ${create_date.strftime("%Y-%m-%d %H:%M")}.
"""

import sqlalchemy as sa
from alembic import op
${imports and imports + chr(10)}
revision: str = ${repr(up_revision).replace("'", '"')}
down_revision: str | None = ${repr(down_revision).replace("'", '"')}


def upgrade() -> None:
    ${upgrades or "pass"}
