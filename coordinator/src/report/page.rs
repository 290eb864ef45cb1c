//! The page: everything in one file, readable by day and by night, without anything from elsewhere.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Picture, Section, ShownTable, Table};

/// Rows of a table that the page shows.
const ROWS: usize = 40;

const STYLE: &str = "
:root{color-scheme:light dark;--paper:#ffffff;--card:#f6f8fa;--ink:#1b1f24;--soft:#57606a;--grid:#d8dee4;--link:#0550ae}
@media (prefers-color-scheme:dark){:root{--paper:#14181d;--card:#1d232a;--ink:#e6edf3;--soft:#9aa7b4;--grid:#30363d;--link:#79b8ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,'DejaVu Sans',Verdana,sans-serif}
main,header{max-width:1180px;margin:0 auto;padding:0 20px}
header{padding-top:24px}h1{font-size:26px;margin:0 0 4px}h2{font-size:21px;margin:44px 0 8px;border-top:2px solid var(--grid);padding-top:24px}
h3{font-size:17px;margin:30px 0 6px}h4{font-size:15px;margin:0 0 6px}
nav{font-size:14px;line-height:1.9}nav a{margin-right:14px}a{color:var(--link)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:10px 0}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
pre{background:var(--card);padding:10px 12px;border-radius:6px;overflow-x:auto;font-size:13px}
figure{margin:18px 0;padding:14px 16px;background:var(--card);border-radius:8px;overflow-x:auto}
figure svg{max-width:100%;height:auto;display:block}
figcaption{color:var(--soft);font-size:13.5px;margin-top:8px}
table{border-collapse:collapse;font-size:13.5px}th,td{text-align:left;padding:3px 14px 3px 0;border-bottom:1px solid var(--grid);vertical-align:top}
th{color:var(--soft);font-weight:600}.note{color:var(--soft)}.files{font-size:12.5px;margin-left:8px}
.ink{fill:var(--ink)}.soft{fill:var(--soft)}.axis{stroke:var(--soft)}.grid{stroke:var(--grid)}.paper{fill:var(--card)}.mark{stroke:var(--ink)}
@media print{figure{break-inside:avoid}}
";

/// A page, and what its pictures are made of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// What it is about.
    pub title: String,
    /// Its parts, in order.
    pub sections: Vec<Section>,
}

impl Report {
    /// All pictures.
    pub fn pictures(&self) -> impl Iterator<Item = &Picture> {
        self.sections.iter().flat_map(|section| &section.pictures)
    }

    /// All tables that have a file of their own.
    pub fn tables(&self) -> impl Iterator<Item = &ShownTable> {
        self.sections.iter().flat_map(|section| &section.tables)
    }

    /// The page.
    pub fn html(&self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        h1 { (self.title) }
                        nav {
                            @for (at, section) in self.sections.iter().enumerate() {
                                a href={ "#part-" (at) } { (section.title) }
                            }
                        }
                    }
                    main {
                        @for (at, section) in self.sections.iter().enumerate() { (part(at, section)) }
                    }
                }
            }
        };
        page.into_string()
    }
}

fn part(at: usize, section: &Section) -> Markup {
    html! {
        section id={ "part-" (at) } {
            @if section.is_chapter { h2 { (section.title) } } @else { h3 { (section.title) } }
            @if !section.facts.is_empty() {
                dl { @for (name, value) in &section.facts { dt { (name) } dd { (value) } } }
            }
            @for note in &section.notes { p.note { (note) } }
            @if !section.commands.is_empty() {
                pre { @for command in &section.commands { (command) "\n" } }
            }
            @for picture in &section.pictures { (figure(picture)) }
            @for shown in &section.tables { (listing(shown)) }
        }
    }
}

fn figure(picture: &Picture) -> Markup {
    let name = &picture.name;
    html! {
        figure id=(name) {
            h4 { (picture.title) }
            (PreEscaped(picture.canvas.inline(&picture.title)))
            figcaption {
                (picture.caption)
                span.files {
                    a href={ (name) ".svg" } { "SVG" } " "
                    a href={ (name) ".png" } { "PNG" } " "
                    a href={ (name) ".csv" } { "CSV" }
                }
            }
        }
    }
}

fn listing(shown: &ShownTable) -> Markup {
    let Table { header, rows } = &shown.table;
    html! {
        figure id=(shown.name) {
            h4 { (shown.title) }
            table {
                thead { tr { @for name in header { th { (name) } } } }
                tbody { @for row in rows.iter().take(ROWS) { tr { @for cell in row { td { (cell) } } } } }
            }
            figcaption {
                @if rows.len() > ROWS { "The first " (ROWS) " of " (rows.len()) " rows." }
                span.files { a href={ (shown.name) ".csv" } { "CSV" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_stands_alone_and_takes_text_for_text() {
        let mut section = Section::chapter("Study <b>");
        section.facts.push(("Best".into(), "a & b".into()));
        let mut table = Table::new(&["n"]);
        (0..50).for_each(|at: i32| table.row([at.to_string()]));
        section.tables.push(ShownTable { name: "all".into(), title: "All".into(), table });
        let page = Report { title: "x".into(), sections: vec![section] }.html();
        assert!(page.contains("<h2>Study &lt;b&gt;</h2>"), "{page}");
        assert!(page.contains("<dd>a &amp; b</dd>"));
        assert!(page.contains("<td>39</td>") && !page.contains("<td>40</td>"));
        assert!(page.contains("The first 40 of 50 rows."));
        for foreign in ["http:", "https:", "<script", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
