//! What readers ask of the news server: groups, articles, overview, listings.

use std::ops::RangeInclusive;

use tracing::error;

use super::answers::{self, Answer, Field, Groups, over_line};
use super::{NntpIn, Selected, Work};
use crate::base::newsgroup::{GroupName, Wildmat};
use crate::base::time::Timestamp;
use crate::gate::server::Ended;
use crate::gate::text::Text;
use crate::store::StoreError;
use crate::store::articles::{Article, Group};
use crate::wire::nntp::{Part, Where, Which};

/// Everything from the beginning of time.
const ALWAYS: Timestamp = Timestamp::from_micros(i64::MIN);

/// What there is not, where an article or a range of them was asked for.
#[derive(Debug, Clone, Copy)]
enum Absent {
    Group,
    Current,
    Number,
    Id,
    Range,
}

impl NntpIn {
    fn absent(&mut self, why: Absent) {
        let (code, text) = match why {
            Absent::Group => (412, "no group is selected"),
            Absent::Current => (420, "there is no current article"),
            Absent::Number => (423, "no article with that number"),
            Absent::Id => (430, "no article with that Message-ID"),
            Absent::Range => (423, "no articles in that range"),
        };
        self.say(code, text);
    }

    /// The middle of an answer is no place for an error: only the end of the connection tells that it is not whole.
    pub(super) fn break_off(&mut self, why: &StoreError) {
        error!(peer = %self.peer, %why, "cannot go on with an answer to a news client");
        self.end(Ended::Broken);
    }

    fn begin(&mut self, answer: Answer) {
        self.work = Some(Work::Answering(Box::new(answer)));
    }

    /// Makes the group the selected one and its first article the current one. `None`: there is no such group.
    fn select(&mut self, name: &str) -> Result<Option<Group>, StoreError> {
        let found = match GroupName::parse(name) {
            Ok(name) => self.store.read(|view| view.group(&name))?,
            Err(_) => None,
        };
        if let Some(group) = &found {
            let current = (group.count > 0).then_some(group.low);
            self.service.selected = Some(Selected { name: group.name.clone(), current });
        }
        Ok(found)
    }

    pub(super) fn group(&mut self, name: &str) -> Result<(), StoreError> {
        match self.select(name)? {
            Some(Group { name, count, low, high, .. }) => self.say(211, format!("{count} {low} {high} {name}")),
            None => self.say(411, "no such group"),
        }
        Ok(())
    }

    pub(super) fn list_group(
        &mut self,
        name: Option<&str>,
        range: Option<RangeInclusive<u64>>,
    ) -> Result<(), StoreError> {
        let named = name.map(str::to_owned).or_else(|| self.service.selected.as_ref().map(|s| s.name.to_string()));
        let Some(name) = named else {
            self.absent(Absent::Group);
            return Ok(());
        };
        let Some(Group { name: group, count, low, high, .. }) = self.select(&name)? else {
            self.say(411, "no such group");
            return Ok(());
        };
        self.say(211, format!("{count} {low} {high} {group} list follows"));
        self.begin(Answer::Numbers { group, range: range.unwrap_or(0..=u64::MAX) });
        Ok(())
    }

    /// NEXT and LAST.
    pub(super) fn step(&mut self, forward: bool) -> Result<(), StoreError> {
        let Some(selected) = &self.service.selected else {
            self.absent(Absent::Group);
            return Ok(());
        };
        let Some(current) = selected.current else {
            self.absent(Absent::Current);
            return Ok(());
        };
        let found = self.store.read::<_, StoreError>(|view| {
            let Some(number) = view.neighbour(&selected.name, current, forward)? else { return Ok(None) };
            Ok(view.article_at(&selected.name, number)?.map(|article| (number, article)))
        })?;
        match found {
            Some((number, article)) => {
                self.say(223, format!("{number} {}", article.overview.message_id));
                self.set_current(number);
            }
            None if forward => self.say(421, "this is the last article of the group"),
            None => self.say(422, "this is the first article of the group"),
        }
        Ok(())
    }

    fn set_current(&mut self, number: u64) {
        if let Some(selected) = &mut self.service.selected {
            selected.current = Some(number);
        }
    }

    /// The article with its number, 0 where it was asked for by its Message-ID (RFC 3977 section 6.2.1.2).
    fn find(&self, which: &Which) -> Result<Result<(u64, Article), Absent>, StoreError> {
        let (number, absent) = match (which, &self.service.selected) {
            (Which::Id(id), _) => {
                let found = self.store.read(|view| view.article(id))?;
                return Ok(found.map(|article| (0, article)).ok_or(Absent::Id));
            }
            (Which::Number(_) | Which::Current, None) => return Ok(Err(Absent::Group)),
            (Which::Number(number), Some(_)) => (*number, Absent::Number),
            (Which::Current, Some(Selected { current: Some(number), .. })) => (*number, Absent::Current),
            (Which::Current, Some(Selected { current: None, .. })) => return Ok(Err(Absent::Current)),
        };
        let Some(selected) = &self.service.selected else { return Ok(Err(Absent::Group)) };
        let found = self.store.read(|view| view.article_at(&selected.name, number))?;
        Ok(found.map(|article| (number, article)).ok_or(absent))
    }

    /// ARTICLE, HEAD, BODY and STAT.
    pub(super) fn retrieve(&mut self, part: Part, which: &Which) -> Result<(), StoreError> {
        let (number, article) = match self.find(which)? {
            Ok(found) => found,
            Err(why) => {
                self.absent(why);
                return Ok(());
            }
        };
        let body = || self.store.read(|view| view.body(article.body));
        let (code, text) = match part {
            Part::Article => (220, Some(Text::whole(body()?))),
            Part::Head => (221, Some(answers::head(body()?)?)),
            Part::Body => (222, Some(answers::without_head(body()?)?)),
            Part::Stat => (223, None),
        };
        if let Which::Number(number) = which {
            self.set_current(*number);
        }
        self.say(code, format!("{number} {}", article.overview.message_id));
        if let Some(text) = text {
            self.work = Some(Work::Sending(Box::new(text)));
        }
        Ok(())
    }

    /// The selected group, and the range if there is an article in it.
    fn range(
        &self,
        range: RangeInclusive<u64>,
    ) -> Result<Result<(GroupName, RangeInclusive<u64>), Absent>, StoreError> {
        let Some(Selected { name, .. }) = &self.service.selected else { return Ok(Err(Absent::Group)) };
        let found = self.store.read(|view| view.numbers(name, range.clone(), 1))?;
        Ok(if found.is_empty() { Err(Absent::Range) } else { Ok((name.clone(), range)) })
    }

    /// OVER, and XOVER, which has another word for an empty range (RFC 2980 section 2.8).
    pub(super) fn over(&mut self, of: Where, old: bool) -> Result<(), StoreError> {
        const FOLLOWS: &str = "overview follows";
        let which = match of {
            Where::Range(range) => {
                match self.range(range)? {
                    Ok((group, range)) => {
                        self.say(224, FOLLOWS);
                        self.begin(Answer::Over { group, range });
                    }
                    Err(Absent::Range) if old => self.say(420, "no articles in that range"),
                    Err(why) => self.absent(why),
                }
                return Ok(());
            }
            Where::Current => Which::Current,
            Where::Id(id) => Which::Id(id),
        };
        match self.find(&which)? {
            Ok((number, article)) => self.lines(224, FOLLOWS, &[&over_line(number, &article.overview)]),
            Err(why) => {
                self.absent(why);
                Ok(())
            }
        }
    }

    /// HDR, and XHDR with its own codes and words (RFC 2980 section 2.6).
    pub(super) fn hdr(&mut self, name: String, of: Where, old: bool) -> Result<(), StoreError> {
        let (code, follows, missing) = if old { (221, "fields follow", "(none)") } else { (225, "fields follow", "") };
        let Some(field) = Field::named(&name, missing) else {
            self.say(503, "there is no such metadata");
            return Ok(());
        };
        let which = match of {
            Where::Range(range) => {
                match self.range(range)? {
                    Ok((group, range)) => {
                        self.say(code, follows);
                        self.begin(Answer::Hdr { group, range, field });
                    }
                    Err(Absent::Range) if old => self.lines(code, follows, &[])?,
                    Err(why) => self.absent(why),
                }
                return Ok(());
            }
            Where::Current => Which::Current,
            Where::Id(id) => Which::Id(id),
        };
        match self.find(&which)? {
            Ok((number, article)) => {
                let value = self.store.read(|view| field.value(view, &article))?;
                let label = match which {
                    Which::Id(id) if old => id,
                    Which::Id(_) | Which::Number(_) | Which::Current => number.to_string(),
                };
                self.lines(code, follows, &[&format!("{label} {value}")])
            }
            Err(why) => {
                self.absent(why);
                Ok(())
            }
        }
    }

    pub(super) fn list(&mut self, show: Groups, wildmat: Option<String>) -> Result<(), StoreError> {
        const FOLLOWS: &str = "list follows";
        let wildmat = wildmat.as_deref().unwrap_or("*");
        // Some clients ask for one group after another: for a plain name nobody looks at all of them.
        if let Ok(name) = GroupName::parse(wildmat) {
            let line = self.store.read(|view| view.group(&name))?.map(|group| show.line(&group));
            return self.lines(215, FOLLOWS, line.as_deref().as_slice());
        }
        self.say(215, FOLLOWS);
        let wildmat = Wildmat::parse(wildmat);
        self.begin(Answer::Groups { show, wildmat, since: ALWAYS, after: String::new() });
        Ok(())
    }

    pub(super) fn new_groups(&mut self, since: Timestamp) -> Result<(), StoreError> {
        self.say(231, "new groups follow");
        let wildmat = Wildmat::parse("*");
        self.begin(Answer::Groups { show: Groups::Active, wildmat, since, after: String::new() });
        Ok(())
    }

    pub(super) fn new_news(&mut self, wildmat: &str, since: Timestamp) -> Result<(), StoreError> {
        self.say(230, "new articles follow");
        self.begin(Answer::NewNews { wildmat: Wildmat::parse(wildmat), behind: (since, 0) });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::gate::script::{Player, SPLITS, start};
    use crate::news::testing::{article, open, village};
    use crate::news::{self, Source};
    use crate::store::Store;

    /// `local.a` has 1, 2, 4 and 5; 2 stands as 1 in `local.b` too.
    fn filled() -> (tempfile::TempDir, Store) {
        let (dir, store) = open();
        let filed: Result<(), StoreError> = store.write(|change| {
            for n in 1..=5 {
                let groups = if n == 2 { "local.a,local.b" } else { "local.a" };
                let mut text = article(&format!("<{n}@x>"), groups, "not-for-mail").replace("hi", &format!("hi\t{n}"));
                if n == 4 {
                    text = text.replace("Subject", "References: <1@x>\n <2@x>\nX-Fold: a\n\tb\nSubject");
                    text = text.replace("text", ".dot\n\nlast");
                }
                news::accept(change, &village(), start(), &Source::Peer("p".to_owned()), text.as_bytes())?;
            }
            change.remove_article("<3@x>", start().wall)?;
            Ok(())
        });
        filed.expect("the store works");
        (dir, store)
    }

    /// Plays a conversation behind the greeting, in every split.
    fn check(script: &str) {
        let (_dir, store) = filled();
        for split in SPLITS {
            let peer = "192.0.2.1".parse().expect("an address");
            let server = NntpIn::new(store.clone(), Arc::new(village()), peer, start());
            Player::new(server, split).play(&["> 200 …\n", script].concat());
        }
    }

    #[test]
    fn groups_are_selected_and_listed() {
        check(
            "< LISTGROUP
             > 412 no group is selected
             < GROUP local.nowhere
             > 411 no such group
             < GROUP ..
             > 411 no such group
             < GROUP local.a
             > 211 4 1 5 local.a
             < LISTGROUP
             > 211 4 1 5 local.a list follows
             > 1
             > 2
             > 4
             > 5
             > .
             < LISTGROUP local.a 2-4
             > 211 4 1 5 local.a list follows
             > 2
             > 4
             > .
             < LISTGROUP local.a 6-
             > 211 4 1 5 local.a list follows
             > .
             < LISTGROUP local.secret
             > 211 0 1 0 local.secret list follows
             > .
             < STAT
             > 420 there is no current article
             < LISTGROUP local.nowhere
             > 411 no such group
             < LISTGROUP
             > 211 0 1 0 local.secret list follows
             > .",
        );
    }

    #[test]
    fn next_and_last_step_over_gaps() {
        check(
            "< NEXT
             > 412 no group is selected
             < GROUP local.a
             > 211 …
             < LAST
             > 422 this is the first article of the group
             < STAT 2
             > 223 2 <2@x>
             < NEXT
             > 223 4 <4@x>
             < NEXT
             > 223 5 <5@x>
             < NEXT
             > 421 this is the last article of the group
             < LAST
             > 223 4 <4@x>
             < STAT
             > 223 4 <4@x>
             < GROUP local.secret
             > 211 0 1 0 local.secret
             < NEXT
             > 420 there is no current article
             < LAST
             > 420 there is no current article",
        );
    }

    #[test]
    fn an_article_is_had_whole_or_in_parts_and_by_any_name() {
        check(
            "< ARTICLE
             > 412 no group is selected
             < ARTICLE 1
             > 412 no group is selected
             < BODY <4@x>
             > 222 0 <4@x>
             > ..dot
             >
             > last
             > .
             < GROUP local.a
             > 211 …
             < ARTICLE
             > 220 1 <1@x>
             > Path: village!not-for-mail
             > From: ann@x
             > Newsgroups: local.a
             > Subject: hi\t1
             > Message-ID: <1@x>
             > Date: 5 Apr 93 18:01:16 GMT
             >
             > text
             > .
             < HEAD 4
             > 221 4 <4@x>
             > Path: village!not-for-mail
             > From: ann@x
             > Newsgroups: local.a
             > References: <1@x>
             >  <2@x>
             > X-Fold: a
             > \tb
             > Subject: hi\t4
             > Message-ID: <4@x>
             > Date: 5 Apr 93 18:01:16 GMT
             > .
             < BODY
             > 222 4 <4@x>
             > ..dot
             >
             > last
             > .
             < STAT <2@x>
             > 223 0 <2@x>
             < STAT
             > 223 4 <4@x>
             < STAT 3
             > 423 no article with that number
             < STAT <3@x>
             > 430 no article with that Message-ID
             < HEAD <3@x>
             > 430 no article with that Message-ID",
        );
    }

    #[test]
    fn a_current_article_that_goes_is_no_longer_current() {
        let (_dir, store) = filled();
        let peer = "192.0.2.1".parse().expect("an address");
        let server = NntpIn::new(store.clone(), Arc::new(village()), peer, start());
        let mut player = Player::new(server, SPLITS[0]);
        player.play("> 200 …\n< GROUP local.a\n> 211 …\n< STAT 2\n> 223 …");
        assert!(store.write(|change| change.remove_article("<2@x>", start().wall)).expect("the store works"));
        player.play("< ARTICLE\n> 420 …\n< NEXT\n> 223 4 <4@x>");
    }

    #[test]
    fn the_overview_of_articles() {
        let bytes = |text: &str| text.len() + text.matches('\n').count() + "village!".len();
        let plain = bytes(&article("<1@x>", "local.a", "not-for-mail").replace("hi", "hi\t1"));
        let (line, rich) =
            (|n: u8, bytes: usize| format!("{n}\thi {n}\tann@x\t5 Apr 93 18:01:16 GMT\t<{n}@x>\t\t{bytes}\t1"), {
                plain + "References: <1@x>\r\n <2@x>\r\nX-Fold: a\r\n\tb\r\n".len() + ".dot\r\n\r\nlast".len()
                    - "text".len()
            });
        let four =
            line(4, rich).replace("\t\t", "\t<1@x> <2@x>\t").replace(&format!("{rich}\t1"), &format!("{rich}\t3"));
        let (two, five) = (line(2, plain + ",local.b".len()), line(5, plain));
        let zero = five.replacen('5', "0", 1);
        check(&format!(
            "< LIST OVERVIEW.FMT
             > 215 fields of the overview
             > Subject:
             > From:
             > Date:
             > Message-ID:
             > References:
             > :bytes
             > :lines
             > .
             < OVER 1-2
             > 412 no group is selected
             < OVER
             > 412 no group is selected
             < OVER <5@x>
             > 224 overview follows
             > {zero}
             > .
             < OVER <3@x>
             > 430 no article with that Message-ID
             < GROUP local.a
             > 211 …
             < OVER 2-4
             > 224 overview follows
             > {two}
             > {four}
             > .
             < XOVER 4-
             > 224 overview follows
             > {four}
             > {five}
             > .
             < OVER 3
             > 423 no articles in that range
             < OVER 5-4
             > 423 no articles in that range
             < XOVER 6-
             > 420 no articles in that range
             < STAT 5
             > 223 …
             < OVER
             > 224 overview follows
             > {five}
             > .
             < GROUP local.secret
             > 211 …
             < OVER
             > 420 there is no current article"
        ));
    }

    #[test]
    fn single_fields_of_articles() {
        check(
            "< LIST HEADERS
             > 215 all fields, and
             > :
             > :bytes
             > :lines
             > .
             < HDR Subject 1-
             > 412 no group is selected
             < HDR subject <4@x>
             > 225 fields follow
             > 0 hi 4
             > .
             < XHDR References <4@x>
             > 221 fields follow
             > <4@x> <1@x> <2@x>
             > .
             < GROUP local.a
             > 211 …
             < HDR x-fold 2-4
             > 225 fields follow
             > 2 …
             > 4 a b
             > .
             < XHDR x-fold 2-4
             > 221 fields follow
             > 2 (none)
             > 4 a b
             > .
             < HDR :lines 4-
             > 225 fields follow
             > 4 3
             > 5 1
             > .
             < XHDR Message-ID
             > 221 fields follow
             > 1 <1@x>
             > .
             < HDR Path
             > 225 fields follow
             > 1 village!not-for-mail
             > .
             < HDR :colour 1-
             > 503 there is no such metadata
             < HDR Subject 6-
             > 423 no articles in that range
             < XHDR Subject 6-
             > 221 fields follow
             > .
             < HDR Subject <3@x>
             > 430 no article with that Message-ID",
        );
    }

    #[test]
    fn groups_are_shown_as_the_wildmat_wants() {
        check(
            "< LIST
             > 215 list follows
             > local.a 5 1 y
             > local.b 1 1 y
             > local.closed 0 1 n
             > local.mod 0 1 m
             > local.secret 0 1 y
             > .
             < LIST ACTIVE *,!local.?
             > 215 list follows
             > local.closed 0 1 n
             > local.mod 0 1 m
             > local.secret 0 1 y
             > .
             < LIST NEWSGROUPS local.?
             > 215 list follows
             > local.a\tAbout local.a
             > local.b\tAbout local.b
             > .
             < LIST ACTIVE.TIMES local.b
             > 215 list follows
             > local.b 991353600 usenet
             > .
             < LIST ACTIVE nothing
             > 215 list follows
             > .
             < LIST DISTRIB.PATS
             > 503 no such list is kept here",
        );
    }

    #[test]
    fn new_groups_and_new_articles_are_those_since_then() {
        check(
            "< NEWGROUPS 20010601 000000 GMT
             > 231 new groups follow
             > local.a 5 1 y
             > local.b 1 1 y
             > local.closed 0 1 n
             > local.mod 0 1 m
             > local.secret 0 1 y
             > .
             < NEWGROUPS 010601 000001 GMT
             > 231 new groups follow
             > .
             < NEWNEWS * 260528 202640 GMT
             > 230 new articles follow
             > <1@x>
             > <2@x>
             > <4@x>
             > <5@x>
             > .
             < NEWNEWS local.b 19990101 000000
             > 230 new articles follow
             > <2@x>
             > .
             < NEWNEWS * 260528 202641 GMT
             > 230 new articles follow
             > .",
        );
    }
}
