"""`scarbon completion`: what makes a shell complete the command's words."""

from __future__ import annotations

import click

#: How each shell takes it in, for all who log in.
PLACES = {
    "bash": "/etc/bash_completion.d/scarbon",
    "zsh": "/usr/local/share/zsh/site-functions/_scarbon",
    "fish": "/etc/fish/completions/scarbon.fish",
}

EXAMPLE = f"""\b
Examples:
  source <(scarbon completion bash)                    in ~/.bashrc, for yourself
  scarbon completion bash > {PLACES["bash"]}
  scarbon completion zsh  > {PLACES["zsh"]}
  scarbon completion fish > {PLACES["fish"]}
"""


@click.command(epilog=EXAMPLE)
@click.argument("shell", type=click.Choice(list(PLACES)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that completes verbs, options and their values in a shell.

    Fields, clusters, and the accounts, users and partitions that the books know are completed, too.
    """
    from click.shell_completion import get_completion_class

    maker = get_completion_class(shell)
    assert maker is not None
    script = maker(ctx.find_root().command, {}, "scarbon", "_SCARBON_COMPLETE").source()
    # In click's script for fish a value ends at its first comma, and ours are lists.
    click.echo(script.replace('string split ","', 'string split --max 1 ","'))
