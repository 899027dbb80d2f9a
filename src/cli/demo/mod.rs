//! `bangpath demo`: the main job on this machine. Two sites, `village` and `hub`, on a simulated line, and beside the
//! hub a host, `world`, that receives over SMTP and NNTP; mail and news both ways; then a table of what arrived.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::ui::{self, Table};
use super::{DATA, Failure};
use crate::base::newsgroup::GroupName;
use crate::base::time::Timestamp;
use crate::proto;
use crate::store::{StoreError, mailboxes};
use crate::wire::header::Header;

mod clients;
mod input;
mod interrupt;
mod line;
mod site;
mod verdict;

use clients::{Answer, Mailer, Poster};
use input::Message;
use line::{Line, Quality};
use site::Site;
use verdict::{Stream, Verdict};

/// Messages of our own in each direction.
const LETTERS: usize = 6;
const ARTICLES: usize = 4;
/// How long nothing may arrive before we stop waiting, on top of what the line needs.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(100);

/// The main job on this machine.
#[derive(clap::Args)]
pub struct Demo {
    /// Bits per second on the line, ten a byte; 0: as fast as it goes
    #[arg(long, default_value_t = 9600)]
    speed: u32,
    /// The chance of each byte on the line to be damaged, as 0.0003
    #[arg(long, default_value_t = 0.0)]
    noise: f64,
    /// Milliseconds that each byte is under way
    #[arg(long, default_value_t = 0)]
    latency: u64,
    /// The protocol on the line: i or g
    #[arg(long, default_value = "i")]
    protocol: String,
    /// Your own mail instead of ours: an mbox file, or a folder with a message a file
    #[arg(long, value_name = "FILE|DIR")]
    mail: Option<PathBuf>,
    /// Your own articles instead of ours: a folder, or a tree such as a news spool
    #[arg(long, value_name = "DIR")]
    news: Option<PathBuf>,
    /// Keep both sites here, to look into them afterwards
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// The three sites, and the line while it is up.
struct Stage {
    folder: PathBuf,
    line: Arc<Line>,
    over: Arc<AtomicBool>,
    village: Site,
    hub: Site,
    world: Site,
    answering: Option<thread::JoinHandle<()>>,
}

impl Drop for Stage {
    /// Nobody may be at work in the folder when it goes.
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(answering) = self.answering.take() {
            let _ = answering.join();
        }
    }
}

pub fn run(arguments: &Demo) -> Result<(), Failure> {
    if arguments.protocol.chars().any(|l| proto::entry(l).is_none()) {
        return Err(Failure::new(DATA, format!("we do not speak protocol `{}`", arguments.protocol)));
    }
    if !(0.0..0.1).contains(&arguments.noise) {
        return Err(Failure::new(DATA, "noise is the chance of each byte to be damaged: from 0 to 0.1"));
    }
    let (mail, news) = read_input(arguments)?;
    interrupt::listen()?;
    let temporary = tempfile::Builder::new().prefix("bangpath-demo-").tempdir()?;
    let folder = match &arguments.keep {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            std::path::absolute(folder)?
        }
        None => temporary.path().to_owned(),
    };
    let stage = set_stage(arguments, folder)?;
    let begun = Instant::now();
    let streams = submit(&stage, mail, news)?;
    let bytes: usize = streams.iter().flat_map(|s| &s.accepted).map(|m| m.bytes.len()).sum();
    let took = wait(arguments, &stage, &streams, bytes, begun)?;
    let verdicts = streams.iter().map(|s| verdict::judge(s, stage.at(s.to))).collect::<Result<Vec<_>, _>>()?;
    report(arguments, &stage, &streams, &verdicts, took)
}

/// Mail and news for each direction: up from the village, down to it.
type Both = (Vec<Message>, Vec<Message>);

fn read_input(arguments: &Demo) -> Result<(Both, Both), Failure> {
    let mail = match &arguments.mail {
        Some(path) => halves(input::read_mail(path)?),
        None => (input::own_mail(LETTERS, "village.example"), input::own_mail(LETTERS, "world.example")),
    };
    let news = match &arguments.news {
        Some(path) => halves(input::read_news(path)?),
        None => (
            input::own_news(ARTICLES, "village.example", None),
            input::own_news(ARTICLES, "world.example", Some("world")),
        ),
    };
    Ok((mail, news))
}

fn halves(messages: Vec<Message>) -> Both {
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for (n, message) in messages.into_iter().enumerate() {
        if n % 2 == 0 { up.push(message) } else { down.push(message) }
    }
    (up, down)
}

fn set_stage(arguments: &Demo, folder: PathBuf) -> Result<Stage, Failure> {
    let latency = Duration::from_millis(arguments.latency);
    let line = Line::open(Quality { speed: arguments.speed, latency, noise: arguments.noise })?;
    let world = Site::start(&folder, "world", "[news]\ncreate = \"*\"\npath-name = \"world.example\"\n")?;
    let hub = format!(
        "[sites.village]\nprotocols = \"{}\"\nmail = {{ relay = true }}\nnews = {{ groups = \"*\", size = \"60K\", path-names = [\"village.example\"] }}\n\n\
         [[mail.route]]\nto = \"village.example\"\nvia = \"uucp:village\"\n\n\
         [[mail.route]]\nto = \"world.example\"\nvia = \"smtp:{}\"\n\n\
         [news]\ncreate = \"*\"\npath-name = \"hub.example\"\n\n[news.peers.world]\nhost = \"{}\"\nsend = \"*\"\npath-names = [\"world.example\"]\n",
        arguments.protocol, world.smtp, world.nntp
    );
    let hub = Site::start(&folder, "hub", &hub)?;
    // A line without a speed of its own is paced for 4 Mbit/s, which no pty carries.
    let speed = if arguments.speed == 0 { 4_000_000 } else { arguments.speed };
    let village = format!(
        "[port.line]\ntype = \"serial\"\ndevice = \"{}\"\nspeed = {speed}\n\n\
         [sites.hub]\ncall = [{{ port = \"line\" }}]\nprotocols = \"{}\"\npoll = \"10s\"\nretry = \"5s\"\nretry-longest = \"5s\"\n\
         mail = {{ relay = true }}\nnews = {{ groups = \"*\", size = \"60K\", path-names = [\"hub.example\"] }}\n\n\
         [[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n\n[news]\ncreate = \"*\"\npath-name = \"village.example\"\n",
        line.near.display(),
        arguments.protocol
    );
    let village = Site::start(&folder, "village", &village)?;
    for site in [&village, &world] {
        let now = Timestamp::default();
        let user = mailboxes::User { name: verdict::recipient(), password: None, added: now };
        let group = GroupName::parse("local.demo").map_err(|e| Failure::of(DATA, &e))?;
        site.store.write::<_, StoreError>(|change| {
            change.set_user(&user)?;
            change.add_group(&group, "The demo", 'y', now).map(drop)
        })?;
    }
    let (line, over) = (Arc::new(line), Arc::new(AtomicBool::new(false)));
    let answering = Some(answer_calls(&folder, Arc::clone(&line), Arc::clone(&over), hub.config.clone()));
    Ok(Stage { folder, line, over, village, hub, world, answering })
}

/// What a getty does at the hub: whenever somebody calls, `uucico` answers.
fn answer_calls(folder: &Path, line: Arc<Line>, over: Arc<AtomicBool>, config: PathBuf) -> thread::JoinHandle<()> {
    let log = folder.join("answer.log");
    thread::spawn(move || {
        let is_over = || over.load(Ordering::SeqCst);
        while !is_over() {
            let has_carrier = || line.has_carrier() && !is_over();
            if has_carrier() {
                if let Err(error) = site::answer(&config, &line.far, &log, has_carrier, is_over) {
                    eprintln!("bangpath: the hub cannot answer: {error}");
                    return;
                }
                while has_carrier() {
                    thread::sleep(LOOK);
                }
            }
            thread::sleep(Duration::from_millis(20));
        }
    })
}

impl Stage {
    fn at(&self, name: &str) -> &Site {
        let sites = [&self.village, &self.hub, &self.world];
        sites.into_iter().find(|s| s.name == name).expect("streams run between our three sites")
    }
}

/// Hands everything in where it begins.
fn submit(stage: &Stage, mail: Both, news: Both) -> Result<Vec<Stream>, Failure> {
    let (up, down) = mail;
    let (news_up, news_down) = news;
    Ok(vec![
        send_mail("village", "world", up, &stage.village.smtp)?,
        send_mail("world", "village", down, &stage.hub.smtp)?,
        send_news("village", "world", news_up, &stage.village.nntp)?,
        send_news("world", "village", news_down, &stage.hub.nntp)?,
    ])
}

fn sort(stream: &mut Stream, message: Message, answer: Answer) {
    match answer {
        Ok(()) => stream.accepted.push(message),
        Err(reason) => stream.refused.push((message.name, reason)),
    }
}

fn send_mail(from: &'static str, to: &'static str, messages: Vec<Message>, address: &str) -> Result<Stream, Failure> {
    let mut stream = Stream { what: "mail", from, to, accepted: Vec::new(), refused: Vec::new() };
    let mut client = Mailer::connect(address)?;
    for message in messages {
        interrupt::check()?;
        let answer = client.send(&format!("ann@{from}.example"), &format!("demo@{to}.example"), &message.bytes)?;
        sort(&mut stream, message, answer);
    }
    Ok(stream)
}

fn send_news(from: &'static str, to: &'static str, messages: Vec<Message>, address: &str) -> Result<Stream, Failure> {
    let mut stream = Stream { what: "news", from, to, accepted: Vec::new(), refused: Vec::new() };
    let mut client = Poster::connect(address)?;
    for message in messages {
        interrupt::check()?;
        // What has been on Usenet already is offered as a server does; a new article is posted.
        let has_path = Header::parse(&message.bytes).is_ok_and(|(header, _)| header.find("Path").is_some());
        let answer = match &message.message_id {
            Some(id) if has_path => client.offer(id, &message.bytes)?,
            Some(_) => client.post(&message.bytes)?,
            None => Err("it has no Message-ID".to_owned()),
        };
        sort(&mut stream, message, answer);
    }
    Ok(stream)
}

/// Waits until everything has arrived, or nothing comes any more. Gives the time it took.
fn wait(
    arguments: &Demo,
    stage: &Stage,
    streams: &[Stream],
    bytes: usize,
    begun: Instant,
) -> Result<Duration, Failure> {
    let expected: usize = streams.iter().map(|s| s.accepted.len()).sum();
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(expected as u64) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} messages  {msg}  {elapsed}") {
        bar.set_style(style);
    }
    let on_line = match arguments.speed {
        0 => Duration::ZERO,
        speed => Duration::from_secs(bytes as u64 * 12 / u64::from(speed)),
    };
    let (mut best, mut last) = (0, Instant::now());
    let carried = || stage.line.traffic.up.load(Ordering::Relaxed) + stage.line.traffic.down.load(Ordering::Relaxed);
    let mut moved = carried();
    loop {
        interrupt::check()?;
        let mut arrived = 0;
        for stream in streams {
            arrived += verdict::count(stream, stage.at(stream.to))?;
        }
        let now_moved = carried();
        // Idle calls move little; a transfer moves this much well before we lose patience.
        if arrived > best || now_moved > moved + 4000 {
            (best, moved, last) = (best.max(arrived), now_moved, Instant::now());
        }
        bar.set_position(arrived as u64);
        bar.set_message(format!("{} on the line", ui::bytes(now_moved)));
        if arrived >= expected || last.elapsed() > PATIENCE || begun.elapsed() > PATIENCE * 4 + on_line * 3 {
            bar.finish_and_clear();
            return Ok(begun.elapsed());
        }
        thread::sleep(LOOK);
    }
}

fn report(
    arguments: &Demo,
    stage: &Stage,
    streams: &[Stream],
    verdicts: &[Verdict],
    took: Duration,
) -> Result<(), Failure> {
    let mut table = Table::new(["WHAT", "FROM", "TO", "ACCEPTED", "REFUSED", "ARRIVED", "UNCHANGED", "TWICE"]);
    let mut text = String::new();
    for (stream, verdict) in streams.iter().zip(verdicts) {
        let numbers =
            [stream.accepted.len(), stream.refused.len(), verdict.arrived, verdict.unchanged, verdict.surplus];
        let [accepted, refused, arrived, unchanged, twice] = numbers.map(|n| n.to_string());
        table.row([
            stream.what.to_owned(),
            stream.from.to_owned(),
            stream.to.to_owned(),
            accepted,
            refused,
            arrived,
            unchanged,
            twice,
        ]);
        for (name, reason) in &stream.refused {
            text.push_str(&format!("refused: {name}: {reason}\n"));
        }
        for name in &verdict.missing {
            text.push_str(&format!("not arrived unchanged: {name}\n"));
        }
    }
    table.print()?;
    let traffic = &stage.line.traffic;
    let (up, down) = (traffic.up.load(Ordering::Relaxed), traffic.down.load(Ordering::Relaxed));
    let seconds = took.as_secs_f64();
    let rate = match arguments.speed {
        0 => "no speed limit".to_owned(),
        speed => {
            let share = up.max(down) as f64 * 10.0 / f64::from(speed) / seconds * 100.0;
            format!("{share:.0} % of {speed} bit/s in the busier direction")
        }
    };
    text.push_str(&format!(
        "\n{seconds:.1} s; on the line {} from the village and {} to it; {rate}\n",
        ui::bytes(up),
        ui::bytes(down)
    ));
    let damaged = traffic.damaged.load(Ordering::Relaxed);
    if damaged > 0 {
        text.push_str(&format!(
            "{damaged} bytes were damaged on the way and repaired by protocol {}\n",
            arguments.protocol
        ));
    }
    text.push_str("Unchanged means: byte for byte, but for Received in mail, and Path and Xref in news.\n");
    if arguments.keep.is_some() {
        text.push_str(&format!(
            "Both sites are in {}: bangpath -c {}/village.toml log\n",
            stage.folder.display(),
            stage.folder.display()
        ));
    }
    ui::print(&text)?;
    if streams.iter().zip(verdicts).all(|(s, v)| v.is_good(s)) {
        return Ok(());
    }
    Err(Failure::new(DATA, "not everything that was accepted arrived once and unchanged"))
}
