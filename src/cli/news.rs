//! `group`.

use serde_json::json;

use super::ui::{self, Table};
use super::{DATA, Failure, Here, USAGE};
use crate::base::newsgroup::GroupName;
use crate::store::StoreError;
use crate::store::articles;

/// Newsgroups.
#[derive(clap::Subcommand)]
pub enum Group {
    /// The groups we carry, and how many articles are in each
    List {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Carry a group from now on
    Add {
        /// The group, as local.talk
        name: String,
        /// What it is about, for newsreaders
        #[arg(long, default_value = "")]
        description: String,
        /// Readers may not post to it
        #[arg(long)]
        no_posting: bool,
    },
}

pub fn group(here: &Here, command: Group) -> Result<(), Failure> {
    let opened = here.open()?;
    match command {
        Group::List { json } => {
            let groups = opened.store.read::<_, StoreError>(|view| view.groups())?;
            if json {
                let row = |g: &articles::Group| {
                    json!({"group": g.name.as_str(), "low": g.low, "high": g.high, "articles": g.count,
                           "status": g.status.to_string(), "description": g.description})
                };
                return ui::print_json(&groups.iter().map(row).collect::<Vec<_>>());
            }
            let mut table = Table::new(["GROUP", "ARTICLES", "LOW", "HIGH", "POSTING", "DESCRIPTION"]);
            for g in groups {
                table.row([
                    g.name.to_string(),
                    g.count.to_string(),
                    g.low.to_string(),
                    g.high.to_string(),
                    g.status.to_string(),
                    g.description,
                ]);
            }
            table.print()
        }
        Group::Add { name, description, no_posting } => {
            let name = GroupName::parse(&name).map_err(|e| Failure::of(USAGE, &e))?;
            let status = if no_posting { 'n' } else { 'y' };
            let now = opened.context.now();
            let new =
                opened.store.write::<_, StoreError>(|change| change.add_group(&name, &description, status, now))?;
            if new { Ok(()) } else { Err(Failure::new(DATA, format!("we carry {name} already"))) }
        }
    }
}
