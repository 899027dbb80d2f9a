//! `doctor`: what ails the installation, or a port and the line behind it, and what to do about it.

use std::time::Duration;

use serde_json::{Value, json};

use super::ui::{self, plain};
use super::{Failure, Here, UNAVAILABLE, USAGE};

mod installation;
mod port;
mod user;

/// Look for trouble: of the whole installation, or of one port and the line behind it.
///
/// With a port, the line is tested with a partner: at the other end run `bangpath doctor PORT --answer` (or, logged in
/// there by hand over this line, `bangpath doctor - --answer`), or put a plug there that sends back what it gets. Ends
/// with status 0 if nothing is wrong, 69 if something is.
#[derive(clap::Args)]
pub struct Doctor {
    /// A port of the configuration; - is standard input and output. Without one the installation is looked at
    port: Option<String>,
    /// Be the partner of a test that is begun at the other end
    #[arg(long, requires = "port")]
    answer: bool,
    /// Dial this number first
    #[arg(long, value_name = "NUMBER", requires = "port", conflicts_with_all = ["answer", "site"])]
    phone: Option<String>,
    /// Dial as for a call to this site
    #[arg(long, value_name = "SITE", requires = "port", conflicts_with = "answer")]
    site: Option<String>,
    /// Seconds to wait for a partner; 0: no test of the line. Default: 20, with --answer 300
    #[arg(long, value_name = "SECONDS", requires = "port")]
    wait: Option<u64>,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

pub fn doctor(here: &Here, arguments: &Doctor) -> Result<(), Failure> {
    let on_line = arguments.port.as_deref() == Some("-");
    if on_line && !arguments.answer {
        return Err(Failure::new(USAGE, "only the partner of a test (--answer) can be on standard input and output"));
    }
    let mut chart = Chart { findings: Vec::new(), json: arguments.json, on_line };
    match &arguments.port {
        None => installation::examine(here, &mut chart)?,
        Some(port) => {
            let seconds = arguments.wait.unwrap_or(if arguments.answer { 300 } else { 20 });
            port::examine(here, arguments, port, Duration::from_secs(seconds), &mut chart)?;
        }
    }
    chart.end()
}

/// How things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// Worth knowing, and perhaps as it should be.
    Note,
    Trouble,
}

/// One thing that was looked at.
struct Finding {
    what: &'static str,
    state: State,
    text: String,
    /// What to do, if anything.
    advice: Option<String>,
    /// For programs.
    details: Option<Value>,
}

/// All that was found. People see each at once: a test of a line takes its time.
struct Chart {
    findings: Vec<Finding>,
    json: bool,
    /// Standard output is the line itself.
    on_line: bool,
}

impl Chart {
    fn good(&mut self, what: &'static str, text: impl Into<String>) -> Result<(), Failure> {
        self.note(Finding { what, state: State::Good, text: text.into(), advice: None, details: None })
    }

    fn remark(&mut self, what: &'static str, text: impl Into<String>, advice: &str) -> Result<(), Failure> {
        let advice = (!advice.is_empty()).then(|| advice.to_owned());
        self.note(Finding { what, state: State::Note, text: text.into(), advice, details: None })
    }

    fn trouble(&mut self, what: &'static str, text: impl Into<String>, advice: &str) -> Result<(), Failure> {
        let advice = (!advice.is_empty()).then(|| advice.to_owned());
        self.note(Finding { what, state: State::Trouble, text: text.into(), advice, details: None })
    }

    fn note(&mut self, finding: Finding) -> Result<(), Failure> {
        if !self.json {
            let mark = match finding.state {
                State::Good => "ok   ",
                State::Note => "note ",
                State::Trouble => "WRONG",
            };
            let mut text = format!("{mark} {:13} {}\n", finding.what, plain(&finding.text));
            if let Some(advice) = &finding.advice {
                text.push_str(&format!("{:20}→ {}\n", "", plain(advice)));
            }
            self.print(&text)?;
        }
        self.findings.push(finding);
        Ok(())
    }

    fn print(&self, text: &str) -> Result<(), Failure> {
        if self.on_line {
            eprint!("{text}");
            return Ok(());
        }
        ui::print(text)
    }

    fn end(self) -> Result<(), Failure> {
        if self.json {
            let row = |finding: &Finding| {
                let state = match finding.state {
                    State::Good => "good",
                    State::Note => "note",
                    State::Trouble => "trouble",
                };
                let Finding { what, text, advice, details, .. } = finding;
                json!({ "check": what, "state": state, "text": text, "advice": advice, "details": details })
            };
            let rows: Vec<Value> = self.findings.iter().map(row).collect();
            match self.on_line {
                true => eprintln!("{}", Value::from(rows)),
                false => ui::print_json(&rows)?,
            }
        }
        let wrong = self.findings.iter().any(|finding| finding.state == State::Trouble);
        if wrong { Err(Failure::new(UNAVAILABLE, "")) } else { Ok(()) }
    }
}
