//! A Taylor UUCP site in a temporary folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::ours::run;
use super::peers;

pub struct Taylor {
    pub folder: TempDir,
    uucico: PathBuf,
    bin: PathBuf,
}

impl Taylor {
    /// `None` where Taylor UUCP is missing. `port` is how it calls `site`: lines of a port file behind `port out`.
    pub fn new(name: &str, site: &str, port: &str, more: &str) -> Option<Self> {
        let uucico = peers::find("usr/lib/uucp/uucico")?;
        let bin = peers::find("usr/bin/uux")?.parent().expect("a folder").to_owned();
        // As long a name as ours has: the bench says it on slow lines.
        let folder = tempfile::Builder::new().prefix("peer-").tempdir().expect("a folder");
        let top = folder.path();
        for inner in ["spool", "pub", "bin"] {
            fs::create_dir(top.join(inner)).expect("a folder");
        }
        let shown = top.display();
        let config = format!(
            "nodename {name}\nspool {shown}/spool\npubdir {shown}/pub\nlockdir {shown}/spool\nlogfile {shown}/Log\n\
             statfile {shown}/Stats\ndebugfile {shown}/Debug\nsysfile {shown}/sys\nportfile {shown}/port\n\
             passwdfile {shown}/passwd\nrun-uuxqt never\n"
        );
        let sys = format!(
            "commands rmail rnews\ncommand-path {shown}/bin\nsystem {site}\nremote-send ~\nremote-receive ~\nlocal-send /\n\
             local-receive /\ntime any\nport out\nchat \"\"\n{more}\n"
        );
        let rmail = format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{{ echo \"ARGS $*\"; cat; }} > {shown}/mail.$$\n");
        let rnews = format!("#!/bin/sh\nPATH=/usr/bin:/bin\ncat > {shown}/news.$$\n");
        let files = [
            ("config", config),
            ("sys", sys),
            ("port", format!("port out\n{port}\n")),
            ("passwd", "Uvillage secret\n".to_owned()),
        ];
        for (file, text) in files {
            fs::write(top.join(file), text).expect("a file");
        }
        fs::set_permissions(top.join("pub"), fs::Permissions::from_mode(0o777)).expect("a folder");
        fs::set_permissions(top, fs::Permissions::from_mode(0o755)).expect("a folder");
        let site = Self { folder, uucico, bin };
        site.provide("rmail", &rmail);
        site.provide("rnews", &rnews);
        Some(site)
    }

    /// Makes this script what it runs as `name` for its neighbours.
    pub fn provide(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, script).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a file");
    }

    /// Lets its neighbours run these commands.
    pub fn allow(&self, commands: &str) {
        let sys = fs::read_to_string(self.path("sys")).expect("a file");
        fs::write(self.path("sys"), sys.replace("commands rmail rnews", &format!("commands {commands}")))
            .expect("a file");
        let uucp = self.bin.join("uucp");
        let line = format!("#!/bin/sh\nexec /usr/bin/env {} {} -I {} \"$@\"\n", stay(), uucp.display(), self.config());
        self.provide("uucp", &line);
    }

    /// It calls over this port from now on.
    pub fn set_port(&self, port: &str) {
        fs::write(self.path("port"), format!("port out\n{port}\n")).expect("a file");
    }

    pub fn path(&self, inner: &str) -> PathBuf {
        self.folder.path().join(inner)
    }

    pub fn config(&self) -> String {
        self.path("config").display().to_string()
    }

    /// The words that answer a call.
    pub fn uucico(&self) -> Vec<String> {
        self.words(&["-u", "uucp", "-q"])
    }

    /// The words that answer a call with a login.
    pub fn uucico_with_login(&self) -> Vec<String> {
        self.words(&["-l", "-q"])
    }

    fn words(&self, options: &[&str]) -> Vec<String> {
        let mut words = vec!["env".to_owned(), stay()];
        words.extend([self.uucico.display().to_string(), "-I".to_owned(), self.config()]);
        words.extend(options.iter().map(|o| (*o).to_owned()));
        words
    }

    /// One of its programs, run as who we are.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("env");
        command.arg(stay()).arg(program).args(["-I", &self.config()]);
        command
    }

    pub fn call(&self, site: &str) -> Output {
        let mut command = self.command(&self.uucico);
        command.args(["-S", site, "-D", "-q"]);
        run(command, b"")
    }

    pub fn uux(&self, words: &[&str], input: &[u8]) {
        self.tool("uux", words, input);
    }

    pub fn uucp(&self, words: &[&str]) {
        self.tool("uucp", words, b"");
    }

    fn tool(&self, name: &str, words: &[&str], input: &[u8]) {
        let mut command = self.command(&self.bin.join(name));
        command.arg("-r").args(words);
        let output = run(command, input);
        assert!(output.status.success(), "{name} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs what has arrived.
    pub fn run_arrived(&self) {
        let uuxqt = self.uucico.parent().and_then(Path::parent).and_then(Path::parent).expect("usr").join("sbin/uuxqt");
        run(self.command(&uuxqt), b"");
    }

    /// Runs what has arrived; gives the standard input of each `rmail` (with its arguments in the first line) or `rnews`.
    pub fn execute(&self, kind: &str) -> Vec<Vec<u8>> {
        self.run_arrived();
        let entries = fs::read_dir(self.folder.path()).expect("a folder");
        let files = entries.map(|e| e.expect("an entry").path());
        let wanted = files.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(kind)));
        let mut found: Vec<Vec<u8>> = wanted.map(|p| fs::read(p).expect("a file")).collect();
        found.sort();
        found
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("Log")).unwrap_or_default()
    }
}

/// Run by root, Taylor's programs would become user uucp; what `make peers` builds keeps them who they are.
fn stay() -> String {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/stay.so");
    if library.exists() { format!("LD_PRELOAD={}", library.display()) } else { "LC_ALL=C".to_owned() }
}
