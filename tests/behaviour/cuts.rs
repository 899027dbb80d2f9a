//! Power cuts: a call, and each way in, ended at every commit point. Nothing acknowledged is lost, nothing stands twice.

mod calls;
mod executions;
mod histories;
mod intake;
mod trace;

use super::site::{BANGPATH, Site, said, was_cut};

/// A letter that can be told from others by its number.
fn letter(number: u64, size: usize) -> Vec<u8> {
    let line = format!("{}\n", "x".repeat(71));
    let text = line.repeat(size / line.len() + 1);
    format!("Subject: m{number};\nMessage-ID: <m{number}@x.example>\n\n{text}").into_bytes()
}

fn article(number: u64, size: usize) -> Vec<u8> {
    let text = "An article.\n".repeat(size / 12 + 1);
    format!(
        "Path: not-for-mail\nFrom: ann@x.example\nNewsgroups: local.test\nSubject: a{number};\n\
         Date: Mon, 5 Jan 2026 10:00:00 GMT\nMessage-ID: <a{number}@x.example>\n\n{text}"
    )
    .into_bytes()
}

fn batch(articles: &[Vec<u8>]) -> Vec<u8> {
    articles.iter().flat_map(|a| [format!("#! rnews {}\n", a.len()).as_bytes(), a].concat()).collect()
}

/// How often this letter stands in a mailbox.
fn letters(site: &Site, user: &str, number: u64) -> usize {
    let subject = format!("Subject: m{number};");
    site.mail(user).iter().filter(|m| m.lines().any(|l| l == subject)).count()
}

/// How often this article stands in the groups.
fn articles(site: &Site, number: u64) -> usize {
    let subject = format!("a{number};");
    site.articles().iter().filter(|o| o.subject == subject).count()
}

/// Two sites, of which village calls hub over a pipe; how they pack mail for each other.
struct Pair {
    village: Site,
    hub: Site,
    format: &'static str,
}

/// Who is cut off in a call, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Caller,
    Answerer,
}

fn hub_config(format: &str) -> String {
    format!(
        "[sites.village]\nmail = {{ relay = true, format = \"{format}\" }}\nnews = {{ groups = \"*\" }}\n\n\
         [[mail.route]]\nto = \"*\"\nvia = \"uucp:village\"\n\n[news]\ncreate = \"*\"\n"
    )
}

/// A shell between the two tells by a file that the answerer was cut off: the caller need not notice.
const ANSWERER: &str = "BANGPATH_ABORT_AT=\"$1\" \"$2\" uucico -I \"$3\"; test $? -lt 128 || touch \"$4\"";

fn village_config(hub: &Site, format: &str, cut: Option<&str>) -> String {
    let (config, mark) = (hub.config().display().to_string(), hub.path("cut").display().to_string());
    // An empty point is none.
    let command = ["sh", "-c", ANSWERER, "sh", cut.unwrap_or_default(), BANGPATH, &config, &mark];
    format!(
        "[port.line]\ntype = \"pipe\"\ncommand = {command:?}\n\n\
         [sites.hub]\ncall = [{{ port = \"line\" }}]\nmail = {{ relay = true, format = \"{format}\" }}\nnews = {{ groups = \"*\" }}\n\n\
         [[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n\n[news]\ncreate = \"*\"\n"
    )
}

impl Pair {
    fn new(format: &'static str) -> Self {
        let hub = Site::in_memory("hub", &hub_config(format));
        let village = Site::in_memory("village", &village_config(&hub, format, None));
        Self { village, hub, format }
    }

    fn copy(&self) -> Self {
        self.copy_with(self.format)
    }

    fn copy_with(&self, format: &'static str) -> Self {
        let hub = self.hub.copy(&hub_config(format));
        let village = self.village.copy(&village_config(&hub, format, None));
        Self { village, hub, format }
    }

    /// One call; whether a process was ended at the point.
    fn call(&self, cut: Option<(Side, &str)>) -> bool {
        let (caller, answerer) = match cut {
            Some((Side::Caller, at)) => (Some(at), None),
            Some((Side::Answerer, at)) => (None, Some(at)),
            None => (None, None),
        };
        self.village.configure(&village_config(&self.hub, self.format, answerer));
        // Its standard error is that of the answerer too: we wait for both.
        let output = self.village.try_run(&["call", "hub"], b"", caller);
        let text = said(&output);
        assert!(!text.contains("panicked"), "{text}");
        let was_cut = was_cut(&output) || std::fs::remove_file(self.hub.path("cut")).is_ok();
        assert!(output.status.success() || was_cut, "{text}");
        was_cut
    }

    /// Calls until nothing waits at either end.
    fn call_until_idle(&self, what: &str) {
        for _ in 0..5 {
            self.call(None);
            if self.village.is_idle() && self.hub.is_idle() {
                for site in [&self.village, &self.hub] {
                    assert!(site.dead().is_empty(), "{what}: {:?}", site.dead());
                }
                return;
            }
        }
        let queue = [&self.village, &self.hub].map(|s| s.run(&["queue", "list"], b"") + &s.run(&["log"], b""));
        panic!("{what}: the queues do not become empty: {queue:?}");
    }
}

/// Does something for each item, on as many threads as there are processors.
fn on_all_processors<T: Sync>(items: &[T], deed: impl Fn(&T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        while let Some(item) = items.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            deed(item);
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
}

/// `1`, `1+`, `2`, `2+` … until `deed` says that it was not cut off any more. Gives how many cuts there were.
fn every_point(mut deed: impl FnMut(&str) -> bool) -> usize {
    let mut cuts = 0;
    for point in 1..1000 {
        let before = deed(&point.to_string());
        let after = deed(&format!("{point}+"));
        cuts += usize::from(before) + usize::from(after);
        if !before && !after {
            return cuts;
        }
    }
    panic!("there is no end of commit points")
}
