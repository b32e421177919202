"""Tables: alignment by content, full width in a pipe, brackets that are not markup, and how figures are written."""

from bitbert.report.table import beside, mib, show, table, times


def printed(capsys, *tables):
    show(*tables)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_figures_stand_right_and_words_left(capsys):
    head, _, *rows = printed(
        capsys, table(("model", "bits", "grid"), [("a", "8", "mid"), ("longer", "16", "mid_tread")])
    )
    assert head == "  model    bits   grid"
    assert rows == ["  a           8   mid", "  longer     16   mid_tread"]


def test_a_pipe_gets_the_whole_row(capsys):
    cell = "x" * 300
    assert cell in "\n".join(printed(capsys, table(("text",), [(cell,)])))


def test_brackets_are_text(capsys):
    assert "[red]label[/red]" in "\n".join(printed(capsys, table(("label",), [("[red]label[/red]",)])))


def test_figures():
    assert (mib(2**20), beside(73.25, 74, 2), times(1.5, 12, "faster")) == ("1.00", "73.25 (-0.75)", "8.0x faster")
