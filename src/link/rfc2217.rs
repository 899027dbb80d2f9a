//! The numbers of RFC 2217, by which a serial port is set and watched over telnet: those of both ends.

/// COM-PORT-OPTION.
pub const OPTION: u8 = 44;

/// Requests. A server's answers and news are their numbers and `TOLD`.
pub const SIGNATURE: u8 = 0;
pub const SET_BAUDRATE: u8 = 1;
pub const SET_DATASIZE: u8 = 2;
pub const SET_PARITY: u8 = 3;
pub const SET_STOPSIZE: u8 = 4;
pub const SET_CONTROL: u8 = 5;
pub const SET_LINESTATE_MASK: u8 = 10;
pub const SET_MODEMSTATE_MASK: u8 = 11;
pub const PURGE_DATA: u8 = 12;
pub const TOLD: u8 = 100;
pub const NOTIFY_LINESTATE: u8 = 106;
pub const NOTIFY_MODEMSTATE: u8 = 107;
pub const FLOWCONTROL_SUSPEND: u8 = 108;
pub const FLOWCONTROL_RESUME: u8 = 109;

/// Values of SET-PARITY.
pub const PARITY_NONE: u8 = 1;
pub const PARITY_ODD: u8 = 2;
pub const PARITY_EVEN: u8 = 3;

/// Values of SET-CONTROL.
pub const FLOW_NONE: u8 = 1;
pub const FLOW_XON_XOFF: u8 = 2;
pub const FLOW_RTS_CTS: u8 = 3;
pub const BREAK_ON: u8 = 5;
pub const BREAK_OFF: u8 = 6;
pub const DTR_ON: u8 = 8;
pub const DTR_OFF: u8 = 9;
pub const RTS_ON: u8 = 11;
pub const RTS_OFF: u8 = 12;
pub const FLOW_INWARDS_NONE: u8 = 14;

/// Values of PURGE-DATA: what has come and is unread, what waits to be sent, both.
pub const PURGE_UNREAD: u8 = 1;
pub const PURGE_UNSENT: u8 = 2;
pub const PURGE_BOTH: u8 = 3;

/// Bits of NOTIFY-LINESTATE. That data has come is not told: it comes itself.
pub const NOTHING_UNSENT: u8 = 0x60;
pub const BREAK: u8 = 0x10;
pub const FRAMING: u8 = 0x08;
pub const WRONG_PARITY: u8 = 0x04;
pub const OVERRUN: u8 = 0x02;

/// Bits of NOTIFY-MODEMSTATE; the lower half tells which have changed.
pub const CARRIER: u8 = 0x80;
pub const RING: u8 = 0x40;
pub const DATA_SET_READY: u8 = 0x20;
pub const CLEAR_TO_SEND: u8 = 0x10;
pub const CARRIER_CHANGED: u8 = 0x08;
pub const DATA_SET_CHANGED: u8 = 0x02;
