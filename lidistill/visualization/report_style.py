# SPDX-License-Identifier: Apache-2.0
"""The report's style sheet: light and dark theme, no outside fonts, prints well."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #1b2027; --soft: #5d6672; --line: #e4e1d9;
  --accent: #0b7a75; --accent-soft: #d5ebe8; --bar: #b9bfc7; --code: #f3f1eb; --grid: #e9e6df;
  --s0: #0b7a75; --s1: #c2571a; --s2: #6a52c7; --s3: #2c7fb8; --s4: #b0305f; --s5: #7a7a1c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0f1319; --card: #161c25; --ink: #e8ebf0; --soft: #98a2b1; --line: #27303c;
    --accent: #4fd1c5; --accent-soft: #173a3c; --bar: #4a5566; --code: #11171f; --grid: #232b36;
    --s0: #4fd1c5; --s1: #f6a15b; --s2: #a996ff; --s3: #6cb8f0; --s4: #f27ca6; --s5: #cfd05a;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.6 Inter, "Segoe UI", "Helvetica Neue", Roboto, "Noto Sans", "DejaVu Sans",
    sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 1120px; margin: 0 auto; padding: 0 24px 72px; }
header { padding: 56px 0 8px; }
.brand { color: var(--accent); font-weight: 650; letter-spacing: .02em; margin: 0 0 18px; }
h1 { font-size: clamp(28px, 4.4vw, 42px); line-height: 1.15; letter-spacing: -.02em;
     margin: 0 0 14px; font-weight: 700; text-wrap: balance; }
.lead { font-size: 19px; color: var(--soft); max-width: 46em; margin: 0 0 18px; }
.tag { display: inline-block; border: 1px solid var(--line); border-radius: 999px;
       padding: 2px 12px; font-size: 14px; color: var(--soft); background: var(--card); }
section { margin-top: 60px; }
h2 { font-size: 24px; letter-spacing: -.01em; margin: 0 0 6px; line-height: 1.25; }
h2 + pre { margin-top: 16px; }
h3 { font-size: 16px; margin: 0 0 4px; }
section > p { max-width: 48em; color: var(--soft); margin: 0 0 20px; }
.verdict { font-size: 20px; line-height: 1.5; color: var(--ink); max-width: 44em;
           border-left: 4px solid var(--accent); padding-left: 18px; margin: 28px 0 24px; }
.quiet { color: var(--soft); }
.label { margin: 0 0 8px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
        padding: 22px 24px; }
.bar { display: grid; grid-template-columns: minmax(110px, 220px) 1fr 56px; gap: 16px;
       align-items: center; padding: 7px 0; }
.bar .track { position: relative; height: 22px; }
.bar .track b { position: absolute; inset: 0 auto 0 0; background: var(--bar);
                border-radius: 4px; opacity: .75; }
.bar.chosen .track b { background: var(--accent); opacity: 1; }
.bar .track i { position: absolute; top: 50%; width: 9px; height: 9px; margin: -4.5px 0 0 -4.5px;
                border-radius: 50%; background: var(--ink); border: 1.5px solid var(--card); }
.bar .name { line-height: 1.3; }
.bar.chosen .name, .bar.chosen .value { font-weight: 650; }
.bar .value { text-align: right; }
.grid3 { display: grid; grid-template-columns: repeat(6, minmax(0, 1fr)); gap: 22px 18px; }
figure { margin: 0; grid-column: span 2; }
figure.span2 { grid-column: span 3; } figure.span3 { grid-column: 1 / -1; }
figure.alone { grid-column: 1 / -1; display: grid; grid-template-columns: minmax(0, 620px) 1fr;
  gap: 24px; align-items: center; }
figure.alone figcaption { font-size: 16px; max-width: 24em; }
figcaption { font-size: 14px; line-height: 1.45; color: var(--soft); margin-top: 8px; }
figcaption strong { color: var(--ink); font-weight: 600; }
figure img { display: block; width: 100%; height: auto; border-radius: 8px; background: #0f131b; }
.zoom { display: block; cursor: zoom-in; border-radius: 8px; }
.zoom input { position: absolute; opacity: 0; pointer-events: none; }
.zoom:focus-within { outline: 2px solid var(--accent); outline-offset: 2px; }
.zoom:has(input:checked) { cursor: zoom-out; }
.zoom:has(input:checked) img { position: fixed; inset: 0; z-index: 9; width: 100vw; height: 100vh;
  object-fit: contain; border-radius: 0; background: rgba(8, 10, 14, .94); padding: 2vmin; }
.charts { display: grid; gap: 18px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
.chart { width: 100%; height: auto; display: block; margin-top: 8px; overflow: visible; }
.chart text { fill: var(--soft); font-size: 13px; }
.chart .end { text-anchor: end; } .chart .mid { text-anchor: middle; }
.chart .grid { stroke: var(--grid); fill: none; }
.chart .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.chart .raw { stroke-width: 1; opacity: .28; }
.s0 { stroke: var(--s0); } .s1 { stroke: var(--s1); } .s2 { stroke: var(--s2); }
.dashed { stroke-dasharray: 5 3; }
.s3 { stroke: var(--s3); } .s4 { stroke: var(--s4); } .s5 { stroke: var(--s5); }
.legend { font-size: 14px; color: var(--soft); display: flex; flex-wrap: wrap; gap: 2px 16px; }
.legend svg { width: 18px; height: 10px; margin-right: 6px; vertical-align: 0; stroke-width: 3; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 12px;
          background: var(--card); margin-top: 18px; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; }
th, td { padding: 9px 14px; text-align: left; border-bottom: 1px solid var(--line);
         vertical-align: baseline; }
thead th { font-weight: 600; color: var(--soft); font-size: 13px; vertical-align: bottom; }
tbody tr:last-child td { border-bottom: 0; }
tr.chosen td { background: var(--accent-soft); }
td small { display: block; line-height: 1.35; }
.runs td:not(:first-child) { white-space: nowrap; }
.runs td:first-child { min-width: 180px; }
.classes td:not(:first-child) { min-width: 118px; white-space: nowrap; }
.classes td:first-child { white-space: nowrap; }
.chip { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 9px;
        box-shadow: inset 0 0 0 1px rgba(0, 0, 0, .15); }
.meter { display: inline-block; width: 48px; height: 6px; border-radius: 3px; margin-right: 10px;
         background: var(--grid); vertical-align: 2px; overflow: hidden; }
.meter b { display: block; height: 100%; background: var(--accent); }
.small { font-size: 14px; color: var(--soft); max-width: 60em; margin: 14px 0 0; }
pre { margin: 0; background: var(--code); border: 1px solid var(--line); border-radius: 12px;
      padding: 16px 20px; overflow-x: auto; font-size: 14px; line-height: 1.65; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre .prompt { color: var(--soft); user-select: none; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 6px 24px; margin: 22px 0 0;
     font-size: 15px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
footer { margin-top: 56px; padding-top: 18px; border-top: 1px solid var(--line);
         color: var(--soft); font-size: 14px; }
@media (max-width: 760px) {
  main { padding: 0 16px 48px; } header { padding-top: 32px; } section { margin-top: 44px; }
  figure, figure.span2 { grid-column: 1 / -1; }
  figure.alone { display: block; } figure.alone figcaption { font-size: 14px; }
  .bar { grid-template-columns: 1fr 56px; gap: 4px 12px; }
  .bar .name { grid-column: 1 / -1; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 10px; }
}
@media print { .scroll { overflow: visible; } section { break-inside: avoid; } }
"""
