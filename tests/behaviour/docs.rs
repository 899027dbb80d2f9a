//! The documents name only what is there.

use std::fs;
use std::path::{Path, PathBuf};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|e| e == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("a file"));
        }
    }
}

#[test]
fn every_test_named_in_the_standards_table_exists() {
    let mut code = String::new();
    sources(&top().join("src"), &mut code);
    sources(&top().join("tests"), &mut code);
    let table = fs::read_to_string(top().join("docs/standards.md")).expect("the table");
    let mut named = 0;
    for line in table.lines().filter(|l| l.starts_with('|')) {
        let shown_by = line.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        for test in shown_by.split('`').skip(1).step_by(2) {
            named += 1;
            assert!(code.contains(&format!("fn {test}(")), "docs/standards.md names {test}, which is no test");
        }
        assert!(!line.contains("| yes |") || !shown_by.trim().is_empty(), "nothing shows: {line}");
    }
    assert!(named > 40);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut pages: Vec<PathBuf> =
        fs::read_dir(top().join("docs")).expect("docs").map(|e| e.expect("an entry").path()).collect();
    pages.push(top().join("README.md"));
    for page in pages.iter().filter(|p| p.extension().is_some_and(|e| e == "md")) {
        let text = fs::read_to_string(page).expect("a page");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.starts_with("http") {
                let target = page.parent().expect("a folder").join(link.split('#').next().unwrap_or(link));
                assert!(target.exists(), "{} links to {link}", page.display());
            }
        }
    }
}
