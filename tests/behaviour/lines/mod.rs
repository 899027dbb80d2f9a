//! Calls over lines that have more than bytes: modems that dial and answer, locks, carriers.

mod air;
mod answered;
mod by_hand;
pub mod carrier;
pub mod exchange;
mod lending;
mod lent;
mod modems;
mod port_server;
mod ports;
mod radio;
mod servers;
