# SPDX-License-Identifier: GPL-2.0
"""How the HTML pages look: on a phone, on a wide screen, in the dark, and on paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --text: #1b1f24; --quiet: #57606a; --line: #d0d7de; --box: #f6f8fa;
  --passed: #1a7f37; --failed: #cf222e; --undecided: #8a5a00; --link: #0a58ca;
  --failed-back: #ffe3e3; --undecided-back: #fdf1cf;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14181d; --text: #e6e9ec; --quiet: #a0a8b1; --line: #363d46; --box: #1d232a;
    --passed: #57c26d; --failed: #ff7b72; --undecided: #e0b04a; --link: #79b8ff;
    --failed-back: #431b1d; --undecided-back: #3a2f12;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 1rem; max-width: 62rem; overflow-wrap: anywhere;
  background: var(--page); color: var(--text); font: 1rem/1.5 system-ui, sans-serif;
}
body.wide { max-width: none; }
h1 { margin: 0; font-size: 1.5rem; line-height: 1.25; }
h2 { margin: 2rem 0 .25rem; font-size: 1.15rem; }
h3 { margin: 0; font-size: 1rem; font-weight: 600; }
h4 { margin: .75rem 0 .25rem; font-size: .85rem; font-weight: 600; color: var(--quiet); }
p { margin: .25rem 0; }
a { color: var(--link); }
.total { font-size: 1.25rem; font-weight: 600; }
.problem {
  margin: .75rem 0; padding: .5rem .75rem; border-left: .25rem solid var(--undecided);
  background: var(--undecided-back);
}
.rule {
  display: grid; grid-template-columns: 1.5rem minmax(0, 1fr) auto; column-gap: .5rem;
  padding: .6rem 0; border-top: 1px solid var(--line);
}
.rule > div { grid-column: 2 / -1; }
.passed > .mark { color: var(--passed); }
.failed > .mark { color: var(--failed); }
.undecided > .mark { color: var(--undecided); }
.mark { font-weight: 700; text-align: center; }
.passed h3, .undecided h3 { font-weight: 400; }
.points { white-space: nowrap; font-variant-numeric: tabular-nums; }
.quiet { color: var(--quiet); font-size: .875rem; }
code, pre {
  font-family: ui-monospace, "DejaVu Sans Mono", Consolas, monospace; font-size: .8125rem;
}
pre {
  margin: 0; padding: .6rem .75rem; max-height: 26rem; overflow: auto;
  white-space: pre-wrap; text-indent: 2ch hanging each-line; line-height: 1.45;
  border: 1px solid var(--line); border-radius: .375rem; background: var(--box);
}
dl {
  display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .125rem 1rem;
  margin: 2rem 0 0; padding-top: .75rem; border-top: 1px solid var(--line);
  font-size: .875rem; color: var(--quiet);
}
dd { margin: 0; }
.scroll { margin: 1rem 0; max-height: 85vh; overflow: auto; border: 1px solid var(--line); }
table {
  border-collapse: separate; border-spacing: 0; font-size: .875rem; overflow-wrap: break-word;
}
th, td {
  padding: .25rem .4rem; text-align: center; background: var(--page);
  border-right: 1px solid var(--line); border-bottom: 1px solid var(--line);
}
th { font-weight: 600; }
thead th { position: sticky; top: 0; z-index: 1; vertical-align: bottom; }
thead th.turned { writing-mode: vertical-rl; text-align: left; white-space: nowrap; }
tbody th, tfoot th, thead th.first {
  position: sticky; left: 0; text-align: left;
}
th > span { display: block; width: max-content; max-width: min(20rem, 34vw); }
thead th.first { z-index: 2; }
td.points { text-align: right; }
td.passed { color: var(--passed); }
td.failed { background: var(--failed-back); color: var(--failed); font-weight: 700; }
td.undecided { background: var(--undecided-back); color: var(--undecided); }
@media print {
  pre, .scroll { max-height: none; overflow: visible; }
  .rule { break-inside: avoid; }
}
"""
