//! Every limit on what a peer, a file or a user can make grow, with its reason.

/// Text of one handshake message after its DLE. HDB stops at 256; SVR4 options may add some.
pub const HANDSHAKE_MESSAGE_MAX: usize = 512;
/// Bytes we read while looking for a handshake message: banners, motd, modem chatter.
pub const HANDSHAKE_NOISE_MAX: usize = 64 * 1024;
/// One line of a modem's answer; the longest CONNECT is half of it.
pub const MODEM_LINE_MAX: usize = 160;
/// One line from a radio modem program.
pub const TNC_LINE_MAX: usize = 256;
/// One frame of the line test. The longest tells of two directions in which every other value is lost.
pub const LINE_TEST_FRAME_MAX: usize = 2048;
/// Letters and digits that the line test sends at once: two seconds at 19200 bit/s.
pub const LINE_TEST_TEXT_MAX: u16 = 4096;
/// What the line test keeps while it looks for the end of raw bytes: the longest sample, and as much noise.
pub const LINE_TEST_RAW_MAX: usize = 8192;
/// Turns of a line test in a row that bring nothing new: what bad lines damage is repeated. A clean line takes one turn in all.
pub const LINE_TEST_TURNS_MAX: u16 = 12;
/// How long a line test may take once a partner has answered, the line's own time for what it sends apart.
pub const LINE_TEST_S: u64 = 60;
/// No line is taken to be slower than so many bits per second, whatever a line test says: a partner may lie, and a packet
/// would be waited for without end. Radioteletype and the first modems have 50.
pub const LINE_SPEED_MIN: u32 = 50;
/// No way is taken to be longer than this, there and back: a line that turns round slowly takes 10 s, and the first answers are waited
/// for twice as long.
pub const LINE_ROUND_TRIP_MAX_S: u64 = 30;
/// One UUCP command or reply, without its NUL. Taylor's are under 1,000; E commands with many recipients grow.
pub const UUCP_COMMAND_MAX: usize = 8 * 1024;
/// What we write as one command to a peer: old peers have buffers of 1,000 bytes.
pub const UUCP_COMMAND_SENT_MAX: usize = 900;
/// A file name on the wire.
pub const WIRE_NAME_MAX: usize = 255;
/// An `X.` file: some hundred lines of some hundred bytes.
pub const EXECUTION_FILE_MAX: usize = 64 * 1024;
/// `F` lines of an `X.` file: more than anybody writes into one command. While one of the files is missing, all are looked for at
/// each try.
pub const EXECUTION_FILES_MAX: usize = 100;
/// How long a program may take that a site has run: what else has come waits for it.
pub const EXECUTION_S_MAX: u64 = 300;
/// Bytes that it may write: they are on the disk twice while it ends.
pub const EXECUTION_OUTPUT_MAX: u64 = 64 * 1024 * 1024;
/// Up to here a body lies in the database, above it in a file beside it; also how much of a
/// file being received is held in memory before it goes to its partial file.
pub const BODY_INLINE_MAX: usize = 64 * 1024;
/// Changes of different threads in one commit: those that come first wait for the last, so not without end.
pub const WRITE_GROUP_MAX: usize = 128;
/// Database connections for reading that are kept open while nobody reads; each holds up to 1 MiB of cache.
pub const READERS_IDLE_MAX: usize = 4;
/// Bytes of a file being received that a power cut may cost beyond a quarter of the file.
pub const PARTIAL_UNSYNCED_MAX: u64 = 1024 * 1024;
/// Largest message taken over SMTP, announced with SIZE.
pub const MESSAGE_MAX: u64 = 64 * 1024 * 1024;
/// Largest article taken over NNTP or in a batch.
pub const ARTICLE_MAX: u64 = 16 * 1024 * 1024;
/// Header block of one message or article. Real ones reach some 30 kB.
pub const HEADER_MAX: usize = 256 * 1024;
/// One line of a message in DATA. RFC 5321 says 1,000; real mail breaks that often, and cutting lines breaks signatures.
pub const MESSAGE_LINE_MAX: usize = 1024 * 1024;
/// One SMTP command line with its CRLF. RFC 5321 section 4.5.3.1.4 says 512, extensions add to it.
pub const SMTP_COMMAND_MAX: usize = 4096;
/// One line of an SMTP reply from a server (RFC 5321: 512), and lines in one reply.
pub const SMTP_REPLY_LINE_MAX: usize = 2048;
pub const SMTP_REPLY_LINES_MAX: usize = 100;
/// Recipients of one SMTP transaction. RFC 5321 section 4.5.3.1.8 asks for 100 at least.
pub const RECIPIENTS_MAX: usize = 1000;
/// Bad commands before an SMTP or NNTP client is sent away.
pub const BAD_COMMANDS_MAX: u32 = 20;
/// One NNTP command line with its CRLF: RFC 3977 section 3.1 says 512.
pub const NNTP_COMMAND_MAX: usize = 512;
/// One line of an NNTP reply from a server (RFC 3977 section 3.1: 512).
pub const NNTP_REPLY_LINE_MAX: usize = 2048;
/// A field in overview and HDR: a line of an answer is put together in memory. Real ones stay under 4 kB.
pub const OVERVIEW_FIELD_MAX: usize = 8 * 1024;
/// Groups in all, counted where an article makes a new one: a peer may name as many as it likes. The largest servers carry
/// some 100,000.
pub const GROUPS_MAX: u64 = 100_000;
/// Attempts to send an article to a news peer that asks each time to try later: ten days of them.
pub const ARTICLE_ATTEMPTS_MAX: u32 = 60;
/// `Received` lines after which a message is taken to be in a loop (RFC 5321 section 6.3: at least 100).
pub const RECEIVED_MAX: usize = 100;
/// Newsgroups of one article.
pub const NEWSGROUPS_MAX: usize = 100;
/// Length of an address: RFC 5321 section 4.5.3.1 says 64 + 255; bang paths are longer.
pub const ADDRESS_MAX: usize = 1024;
/// Refused callers written to the ledger in an hour: enough to see who tries, and 100 kB a day for a flood of strangers.
pub const REFUSED_CALLS_MAX: u64 = 30;
/// How many of the last facts are looked at to count them.
pub const REFUSED_CALLS_SEEN: u64 = 1000;
/// What unpacking a compressed batch may yield: a batch is unpacked in a stream, so this bounds time, not memory.
pub const UNPACK_MAX: u64 = 1024 * 1024 * 1024;
/// Lines of a mail batch in a row that lead to no letter; then the rest is not read. Who writes batches says HELO, RSET and NOOP now
/// and then.
pub const BATCH_IDLE_COMMANDS_MAX: u32 = 1000;
/// Letters that a site may send in one batch: a few hundred bytes with gzip may stand for very many, and each costs a change and room.
pub const BATCH_LETTERS_MAX: u64 = 100_000;
/// Letters or articles of a site's batch that are taken before other files have their turn, at least.
pub const BATCH_TURN_MIN: u64 = 500;
/// Letters that a program of this machine may hand in as one batch: all are taken or none, so they are kept until then, small
/// ones in memory (so many bytes of them), large ones in open files (so many of them).
pub const LOCAL_BATCH_LETTERS_MAX: usize = 10_000;
pub const LOCAL_BATCH_HELD_MAX: u64 = 64 * 1024 * 1024;
pub const LOCAL_BATCH_FILES_MAX: usize = 500;
/// Files one call may have open at once in each direction: the channels of protocol i.
pub const CHANNELS_MAX: u8 = 7;
/// Clients of one service at the same time.
pub const CLIENTS_MAX: usize = 200;
/// Those of one address among them (of IPv6: of one network of 64 bits): half, for behind it may be a whole village.
pub const CLIENTS_OF_ONE_MAX: usize = 100;
/// Turns in following an address from form to form (`a%b%c@us`): real ones take three.
pub const ROUTE_STEPS_MAX: usize = 32;
/// An `rmail` command line: with the rest of an E command around it (names, size, requestor) it stays under `UUCP_COMMAND_SENT_MAX`.
pub const RMAIL_COMMAND_MAX: usize = UUCP_COMMAND_SENT_MAX - 250;
/// Messages sent over one SMTP connection before a new one is made, as servers like it.
pub const SMTP_ITEMS_MAX: usize = 1000;
/// Answers "too many channels" in one call that are heeded; then a task waits for another call.
pub const BUSY_ANSWERS_MAX: u32 = 100;
/// Commands and answers of a peer in a row that lead to nothing (refused, garbled, said to nobody); then the call ends. Honest
/// queues of files that are all refused are shorter, and the rest comes in the next call.
pub const VAIN_MAX: u32 = 500;
/// Bytes of files, and of what the peer says, that must move in a session within this time; else the call ends, for a byte
/// now and then would hold the line until the longest time for a call is over. That is a tenth of what the slowest line
/// (`LINE_SPEED_MIN`) carries, in twice the time that a peer may be silent which is slow to store a file.
pub const MOVED_BYTES_MIN: u64 = 600;
pub const MOVED_WITHIN_S: u64 = 1200;
/// Bytes of answers that wait for a peer that sends and does not read; then the call ends. Honest peers wait for answers.
pub const ANSWERS_WAITING_MAX: usize = 64 * 1024;
/// Control packets of one protocol that wait for the line. More would say nothing new.
pub const CONTROL_WAITING_MAX: usize = 64;
/// Offers of a peer that are put off in a call that is to end; then it ends at once.
pub const PUT_OFF_MAX: u32 = 100;
/// Files that one wildcard request may match: each becomes an item and a copy.
pub const WILDCARD_MATCHES_MAX: usize = 500;
/// Entries of folders looked at for one wildcard request.
pub const WILDCARD_ENTRIES_MAX: usize = 20_000;
/// Systems that a forwarded file may still have to pass: longer paths are loops or mistakes.
pub const FORWARD_HOPS_MAX: usize = 8;
/// File bytes that a protocol takes ahead of the line: enough for its largest packet and the next.
pub const SEND_AHEAD_MAX: usize = 8 * 1024;
/// What a protocol gives to the driver at once.
pub const TRANSMIT_MAX: usize = 4 * 1024;
/// Count of one data block of protocol t. Programs send 1,024; a larger count than this means that bytes were lost.
pub const T_BLOCK_MAX: u32 = 64 * 1024;
/// What protocol j keeps of bytes outside its envelopes: a good-bye of some ten bytes may be among them.
pub const J_SKIPPED_MAX: usize = 1024;
/// One piece of data in protocol a: more is sent by nobody, so a longer one means that its end was lost.
pub const A_DATA_MAX: usize = 1024;
/// Sockets that systemd may pass: one for each service, and more addresses of each.
pub const PASSED_SOCKETS_MAX: usize = 64;
/// What is kept of the words of a `chat-program` on standard error: some fifty lines for the log.
pub const PROGRAM_WORDS_MAX: usize = 4096;
/// Answers to telnet options on one connection: a client has some twenty options, and asks for each once.
pub const TELNET_ANSWERS_MAX: usize = 200;
/// What a telnet caller may say the speed of its line is, in bits per second: a packet of a slower one would take minutes.
pub const OFFERED_SPEEDS: std::ops::RangeInclusive<u32> = 50..=4_000_000;
/// Answers to what a telnet caller sets of a line may wait unsent up to so many bytes: who takes none gets no more.
pub const OFFERED_ANSWERS_MAX: usize = 4096;
/// One telnet subnegotiation: those of RFC 2217 have some ten bytes, a server's signature some more.
pub const TELNET_SUBNEGOTIATION_MAX: usize = 256;
/// Bytes of a file that the operator wrote: a configuration, a password, a profile of a modem. `/dev/zero` has no end.
pub const OPERATORS_FILE_MAX: u64 = 4 * 1024 * 1024;
/// The named rate of guesses: so many wrong logins from one address within this time, over whatever port, and its next
/// connections are closed at once; so many on a serial port, a terminal or a radio, where callers have none, and nobody is answered there.
/// A site whose password was mistyped comes back after the pause of its own retries.
pub const WRONG_LOGINS_MAX: usize = 10;
pub const WRONG_LOGINS_WITHIN_S: u64 = 600;
/// Wrong logins that are remembered at the same time; the oldest are forgotten first.
pub const WRONG_LOGINS_HELD_MAX: i64 = 10_000;
/// The answer to the first wrong login of a connection comes after so long, to the second after twice that.
pub const WRONG_LOGIN_DELAY_S: u64 = 2;
/// Bytes that are read of what the holder of a lock has noted in it: a few numbers and a name.
pub const LOCK_NOTE_MAX: u64 = 4096;
/// What `learn` keeps of what came between two keys: an echo at its beginning and a prompt at its end are short, a far end may talk
/// for hours.
pub const LEARNT_PIECE_MAX: usize = 16 * 1024;
