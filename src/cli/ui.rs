//! What a person sees: tables, logs, progress.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::Failure;

/// Logs to standard error: a daemon what it does, a command what is odd. `$BANGPATH_LOG` takes filters.
pub fn start_log(verbose: u8, daemon: bool) {
    let level = match (verbose, daemon) {
        (0, false) => "error",
        (0, true) => "info",
        (1, _) => "debug",
        (_, _) => "trace",
    };
    let filter =
        EnvFilter::try_from_env("BANGPATH_LOG").unwrap_or_else(|_| EnvFilter::new(format!("bangpath={level}")));
    let colours = io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .init();
}

/// Rows under headings, columns as wide as they must be. At a terminal a row stays on one line.
pub struct Table {
    rows: Vec<Vec<String>>,
}

/// Between two columns.
const GAP: usize = 2;
/// No column is shortened below this.
const COLUMN_MIN: usize = 4;

impl Table {
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned).into()] }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| plain(&cell)).into());
    }

    pub fn print(&self) -> Result<(), Failure> {
        // Programs that read us get everything.
        let columns = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
        print(&self.layout(columns.filter(|columns| *columns > 0)))
    }

    /// As text. Where `columns` is given, the widest cells are cut until a row fits.
    fn layout(&self, columns: Option<usize>) -> String {
        let width = |column: usize| self.rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
        let mut widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        if let Some(columns) = columns {
            let room = columns.saturating_sub(GAP * (widths.len() - 1));
            while widths.iter().sum::<usize>() > room {
                let widest = widths.iter_mut().max().expect("a table has a column");
                if *widest <= COLUMN_MIN {
                    break;
                }
                *widest -= 1;
            }
        }
        let mut out = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{:width$}", shorten(cell, *width)));
            let line = cells.collect::<Vec<_>>().join(&" ".repeat(GAP));
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

fn shorten(cell: &str, width: usize) -> Cow<'_, str> {
    if cell.chars().count() <= width {
        return cell.into();
    }
    cell.chars().take(width.saturating_sub(1)).chain(['…']).collect::<String>().into()
}

/// Without control characters: names that peers and users chose must not move the cursor or break a row.
pub fn plain(text: &str) -> String {
    let show = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(show).collect()
}

/// To standard output. A reader that has gone (`| head`) ends the command quietly.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::new(0, "")),
        result => Ok(result?),
    }
}

/// One JSON value for each row, as an array.
pub fn print_json(rows: &[serde_json::Value]) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(rows).map_err(|e| Failure::of(super::DATA, &e))?;
    print(&format!("{text}\n"))
}

/// `12.3 kB`
pub fn bytes(count: u64) -> String {
    match count {
        0..1000 => format!("{count} B"),
        1000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}

/// `12.3s`, `4m 5s`, `3h 20m`, `2d 5h`
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{:.1}s", time.as_secs_f64()),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_stays_within_the_terminal_and_is_whole_elsewhere() {
        let mut table = Table::new(["ITEM", "WHAT", "STATE"]);
        table.row(["1".to_owned(), "ann@village.example > bob@hub.example".to_owned(), "held: by hand".to_owned()]);
        let check = |columns, expected: &str| assert_eq!(table.layout(columns), expected, "{columns:?}");
        let whole = "ITEM  WHAT                                   STATE\n\
                     1     ann@village.example > bob@hub.example  held: by hand\n";
        check(None, whole);
        check(Some(80), whole);
        check(
            Some(40),
            "ITEM  WHAT                 STATE\n\
             1     ann@village.exampl…  held: by hand\n",
        );
        check(
            Some(20),
            "ITEM  WHAT    STATE\n\
             1     ann@v…  held:…\n",
        );
        check(Some(3), "ITEM  WHAT  STA…\n1     ann…  hel…\n");
    }
}
