//! The front door for callers: who may come in, and the desk they get.

use std::sync::Arc;

use super::desk::StoreDesk;
use super::{Context, Progress};
use crate::base::names::Grade;
use crate::session::{Caller, Reception, Rejection, Welcome};
use crate::store::LockKind;

pub(super) struct StoreReception {
    context: Context,
    /// A login was asked for, so it must be the caller's own.
    logged_in: bool,
    progress: Arc<Progress>,
}

impl StoreReception {
    pub fn new(context: Context, logged_in: bool, progress: Arc<Progress>) -> Self {
        Self { context, logged_in, progress }
    }
}

impl Reception for StoreReception {
    fn welcome(&mut self, caller: &Caller) -> Result<Welcome, Rejection> {
        let site = self.context.site(&caller.name).ok_or(Rejection::Unknown)?;
        let expected = site.called_login.as_deref();
        // A site that names its login must have come in by it, by whatever door; where a login was
        // asked for, a site that names none is known by its own name.
        let required = expected.or(self.logged_in.then_some(site.name.as_str()));
        if let Some(expected) = required.filter(|required| caller.login.as_deref() != Some(required)) {
            return Err(Rejection::WrongLogin { used: caller.login.clone(), expected: expected.to_owned() });
        }
        let lock = match self.context.store.lock(LockKind::Site, site.name.as_str()) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Err(Rejection::Locked),
            Err(error) => {
                tracing::error!(%error, "cannot lock a site");
                return Err(Rejection::Locked);
            }
        };
        let desk = StoreDesk::new(self.context.clone(), site.clone(), Arc::clone(&self.progress)).holding(lock);
        Ok(Welcome {
            site: site.name.clone(),
            desk: Box::new(desk),
            protocols: site.protocols.clone(),
            parameters: site.parameters.clone(),
            worst: Grade::LEAST,
        })
    }
}
