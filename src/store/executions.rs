//! Items of one command: its execution file waits until its data is at the site, and none of them is of use without the others.

use rusqlite::params;

use super::ledger::Fact;
use super::rows::hop_text;
use super::{Cargo, Change, Hop, Item, ItemId, StoreError, View};
use crate::base::time::Timestamp;

/// Why an execution file is held.
const HELD: &str = "until the files of its command are there";

/// The items that go with an execution file, by its name at their hop.
const OF_EXECUTION: &str = "item.hop = ?1 AND item.cargo ->> '$.execution' = ?2";

impl View<'_> {
    /// The other items of the command that this one is for, oldest first; of most items there are none.
    pub fn companions(&self, id: ItemId) -> Result<Vec<Item>, StoreError> {
        let Some((hop, execution)) = self.execution_of(id)? else { return Ok(Vec::new()) };
        let sql = format!("SELECT item.id FROM item WHERE {OF_EXECUTION} AND item.id <> ?3 ORDER BY item.id");
        let ids = self.rows(&sql, params![hop, execution, id], |row| row.get::<_, ItemId>(0))?;
        ids.into_iter().filter_map(|id| self.item(id).transpose()).collect()
    }

    pub(super) fn execution_of(&self, id: ItemId) -> Result<Option<(Hop, String)>, StoreError> {
        let sql = "SELECT hop, cargo ->> '$.execution' FROM item WHERE id = ?";
        let found = self.row(sql, [id], |row| Ok((row.get(0)?, row.get::<_, Option<String>>(1)?)))?;
        Ok(found.and_then(|(hop, execution)| Some((hop, execution?))))
    }
}

impl Change<'_> {
    /// Holds the execution file while any of its data is in the queue, and lets it go then, unless it is held for another reason.
    pub(super) fn keep_order(&mut self, hop: &Hop, execution: &str) -> Result<(), StoreError> {
        let sql = format!(
            "UPDATE item SET held = CASE WHEN EXISTS (SELECT 1 FROM item WHERE {OF_EXECUTION} AND item.cargo ->> '$.to' <> ?2)
             THEN coalesce(held, ?3) ELSE nullif(held, ?3) END WHERE {OF_EXECUTION} AND item.cargo ->> '$.to' = ?2"
        );
        self.execute(&sql, params![hop, execution, HELD]).map(drop)
    }

    /// Out of the queue, into the dead letters, with its body; and with it what is left of its command. What of that a peer has
    /// been offered goes on by itself.
    pub fn bury_item(&mut self, id: ItemId, why: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut others = self.companions(id)?;
        others.retain(|other| !other.in_doubt);
        let Some(first) = self.item(id)?.filter(|_| !others.is_empty()) else {
            return self.bury_alone(id, why, now);
        };
        let with = format!("goes with {}: {why}", name(&first));
        // In the order in which they came: so they go again.
        let (before, after) = others.split_at(others.partition_point(|other| other.id < id));
        for other in before {
            self.bury_companion(other, &with, now)?;
        }
        self.bury_alone(id, why, now)?;
        after.iter().try_for_each(|other| self.bury_companion(other, &with, now))
    }

    fn bury_companion(&mut self, item: &Item, why: &str, now: Timestamp) -> Result<(), StoreError> {
        self.bury_alone(item.id, why, now)?;
        let place = match &item.hop {
            Hop::Site(site) => site.to_string(),
            Hop::Smtp { .. } | Hop::Nntp(_) | Hop::Maildir(_) => hop_text(&item.hop),
        };
        let (id, detail) = (name(item), why.to_owned());
        self.record(Fact { at: now, verb: "buried", what: "file", place, id, bytes: item.size, detail })
    }
}

fn name(item: &Item) -> String {
    match &item.cargo {
        Cargo::File { to, .. } => to.clone(),
        Cargo::Mail { .. }
        | Cargo::Article { .. }
        | Cargo::Fetch { .. }
        | Cargo::Expand { .. }
        | Cargo::Command { .. } => format!("item {}", item.id.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::jobs::{Deed, NewJob};
    use super::super::queue::QueueRefusal;
    use super::super::testing::*;
    use super::super::{NewItem, Store};
    use super::*;
    use crate::base::names::Grade;
    use crate::base::wishes::CopyWishes;

    fn part(store: &Store, hop: &str, to: &str, execution: &str) -> ItemId {
        write(store, |change| {
            let body = change.keep_bytes(to.as_bytes())?;
            let (from, user, wishes) = (to.to_owned(), "ann".to_owned(), CopyWishes::default());
            let execution = Some(execution.to_owned());
            let cargo = Cargo::File { from, to: to.to_owned(), user, mode: 0o666, wishes, execution, body };
            change.enqueue(NewItem { hop: Hop::Site(site(hop)), cargo, grade: grade('N'), queued: NOW })
        })
    }

    /// Two files and their execution file.
    fn command(store: &Store, hop: &str) -> [ItemId; 3] {
        ["D.1", "D.2", "X.3"].map(|name| part(store, hop, name, "X.3"))
    }

    fn offer(store: &Store, item: ItemId) {
        write(store, |change| {
            let (from, to, user, wishes) = (String::new(), String::new(), String::new(), CopyWishes::default());
            let (deed, data) = (Deed::Store { from, to, user, mode: 0o666, wishes }, change.keep_bytes(b"x")?);
            let job = NewJob { site: site("hub"), grade: grade('N'), items: vec![item], deed, data };
            let job = change.new_job(job)?;
            change.offer_job(job.id)
        });
    }

    fn ready(store: &Store) -> Vec<ItemId> {
        let items = read(store, |v| v.ready_items(&Hop::Site(site("hub")), NOW, Grade::LEAST, 9));
        items.into_iter().map(|item| item.id).collect()
    }

    #[test]
    fn the_last_data_lets_the_execution_file_go_unless_an_operator_holds_it() {
        for held in [false, true] {
            let (_folder, store) = open();
            // The same names at another site are another command.
            let (_, [one, two, last]) = (command(&store, "leaf"), command(&store, "hub"));
            assert_eq!(ready(&store), [one, two]);
            if held {
                write(&store, |c| c.hold_item(last, "by hand"));
            }
            write(&store, |c| c.finish_item(two));
            assert_eq!(ready(&store), [one]);
            write(&store, |c| c.finish_item(one));
            assert_eq!(ready(&store), if held { vec![] } else { vec![last] });
        }
    }

    #[test]
    fn what_a_peer_may_have_goes_on_when_the_rest_of_its_command_is_buried_and_is_not_dropped_with_it() {
        let (_folder, store) = open();
        let [one, two, last] = command(&store, "hub");
        offer(&store, one);
        let dropped = |id, force| write(&store, |c| c.drop_item(id, force));
        assert_eq!(dropped(two, false), Err(QueueRefusal::InDoubt(one.0)));
        write(&store, |c| c.bury_item(two, "no", NOW));
        let dead = read(&store, |v| v.dead_letters());
        assert_eq!(dead.iter().map(|letter| letter.why.as_str()).collect::<Vec<_>>(), ["no", "goes with D.2: no"]);
        assert!(read(&store, |v| v.item(one)).is_some());
        // Tried again, all of it is one command as before.
        write(&store, |c| c.retry_dead_letter(dead[0].number, NOW));
        let all = read(&store, |v| v.companions(one));
        assert_eq!(all.iter().map(|item| item.held.is_some()).collect::<Vec<_>>(), [false, true]);
        assert_eq!(dropped(all[1].id, true).map(|items| items.len()), Ok(3));
        assert_eq!((remains(&store), last.0), ((0, 0, 0), 3));
    }

    #[test]
    fn other_files_go_alone() {
        let (_folder, store) = open();
        let [one, other] = ["a", "b"].map(|text| queue_mail(&store, "hub", 'C', text.as_bytes()));
        command(&store, "hub");
        assert_eq!(read(&store, |v| v.companions(one)), []);
        write(&store, |c| c.bury_item(one, "no", NOW));
        assert_eq!(write(&store, |c| c.drop_item(other, false)).map(|items| items.len()), Ok(1));
        let number = read(&store, |v| v.dead_letters())[0].number;
        assert_eq!(write(&store, |c| c.drop_dead_letter(number)), 1);
    }
}
