//! What goes to the terminal: data to stdout, talk to stderr, colours by meaning.

use std::fmt::Write as _;
use std::io::{self, Write};

/// Writes data to stdout.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes data and a line end to stdout.
pub fn line(text: &str) -> io::Result<()> {
    print(&format!("{text}\n"))
}

/// Writes indented JSON to stdout.
pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> anyhow::Result<()> {
    Ok(line(&serde_json::to_string_pretty(value)?)?)
}

/// Says something to the person: a line on stderr. Nobody listening is no error.
pub fn talk(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Warns the person on stderr.
pub fn warn(text: &str) {
    talk(&format!("{} {text}", style::note("warning:")));
}

/// Columns as wide as their widest cell, two spaces apart; the last one is as wide as it is.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a header.
    pub fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The text.
    pub fn render(&self) -> String {
        let columns = self.rows[0].len();
        let cell_width = |row: &Vec<String>, i: usize| row.get(i).map_or(0, |c| c.chars().count());
        let width = |i| self.rows.iter().map(|row| cell_width(row, i)).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(line, "{cell:width$}  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Colours by meaning; none when stderr is no terminal or `NO_COLOR` is set.
pub mod style {
    use std::io::IsTerminal;
    use std::sync::OnceLock;

    /// It went wrong.
    pub fn bad(text: &str) -> String {
        paint(text, "1;31")
    }

    /// It went well.
    pub fn good(text: &str) -> String {
        paint(text, "32")
    }

    /// To be noticed.
    pub fn note(text: &str) -> String {
        paint(text, "1;36")
    }

    /// In the background.
    pub fn dim(text: &str) -> String {
        paint(text, "2")
    }

    fn paint(text: &str, code: &str) -> String {
        static COLOURS: OnceLock<bool> = OnceLock::new();
        let wanted = || std::io::stderr().is_terminal() && crate::config::colours_allowed();
        if *COLOURS.get_or_init(wanted) {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_spaces() {
        let mut table = Table::new(&["NAME", "SOURCE"]);
        table.row(["a-longer-name".to_owned(), "x".to_owned()]);
        table.row(["pinyin-拼音".to_owned(), String::new()]);
        assert_eq!(table.render(), "NAME           SOURCE\na-longer-name  x\npinyin-拼音\n");
    }
}
