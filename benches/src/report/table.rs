//! Tables in Markdown.

use crate::stats::{Spread, shown};

/// A median with the lowest and the highest.
pub(super) fn spread_text(spread: Spread) -> String {
    format!("{} [{} – {}]", shown(spread.median), shown(spread.min), shown(spread.max))
}

/// A table whose columns are aligned.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(column, head)| rows.iter().map(|row| row[column].chars().count()).chain([head.chars().count()]).max().unwrap_or(0))
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.zip(&widths).map(|(cell, &width)| format!(" {cell:<width$} |"));
        format!("|{}\n", cells.collect::<String>())
    };
    let rule = widths.iter().map(|&width| "-".repeat(width + 2) + "|").collect::<String>();
    let body = rows.iter().map(|row| line(&mut row.iter().map(String::as_str))).collect::<String>();
    format!("{}|{rule}\n{body}", line(&mut heads.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "µ".to_owned()]];
        assert_eq!(table(&["x", "value"], &rows), "| x    | value |\n|------|-------|\n| a    | 1     |\n| long | µ     |\n");
    }
}
