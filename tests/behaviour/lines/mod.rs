//! Calls over lines that have more than bytes: modems that dial and answer, locks, carriers.

mod air;
mod answered;
mod carrier;
pub mod exchange;
mod lending;
mod lent;
mod modems;
mod radio;
mod servers;
