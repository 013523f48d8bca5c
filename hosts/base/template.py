"""Jinja templates that keep the real file formats."""

from pathlib import Path


def render(path: Path, **values: object) -> str:
    """The text of a template with these values. A name that is missing is an error."""
    # Not on a machine, where a role's programs are to start soon and render nothing.
    import jinja2  # noqa: PLC0415

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 these are configuration files
    )
    return environment.get_template(path.name).render(**values)


def milliseconds(seconds: float) -> str:
    """A time as HAProxy writes it: 0.3 → ``300ms``."""
    return f"{round(seconds * 1000)}ms"
