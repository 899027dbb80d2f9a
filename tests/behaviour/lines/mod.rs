//! Calls over lines that have more than bytes: modems that dial and answer, locks, carriers.

mod carrier;
mod exchange;
mod modems;
