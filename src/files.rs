//! Files for other programs: Maildir, the public directory, logs: write, sync, rename.
