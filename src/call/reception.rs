//! The front door for callers: who may come in, and the desk they get.

use std::sync::Arc;

use super::desk::StoreDesk;
use super::{Context, Progress, Site};
use crate::base::names::{Grade, SiteName};
use crate::base::words::with_causes;
use crate::session::chat::{Credentials, Script};
use crate::session::{Caller, Reception, Rejection, Welcome};
use crate::store::sites::CallNumber;
use crate::store::{LockKind, StoreError};

pub(super) struct StoreReception {
    context: Context,
    /// A login was asked for, so it must be the caller's own.
    logged_in: bool,
    /// Where the caller comes from.
    peer: String,
    progress: Arc<Progress>,
}

impl StoreReception {
    pub fn new(context: Context, logged_in: bool, peer: &str, progress: Arc<Progress>) -> Self {
        Self { context, logged_in, peer: peer.to_owned(), progress }
    }
}

impl StoreReception {
    /// Marks the site to be called.
    fn call_back(&self, site: &SiteName) -> Rejection {
        let marked = self.context.store.write::<_, StoreError>(|change| {
            let mut state = change.site_state(site)?;
            state.call_wanted = true;
            change.set_site_state(site, &state)
        });
        match marked {
            Ok(()) => Rejection::CallBack,
            Err(error) => {
                tracing::error!(error = with_causes(&error), "cannot note that a site is to be called back");
                Rejection::Locked
            }
        }
    }

    /// Compares the number of the call with ours and notes it. The number of a call of which the caller may not have heard
    /// that we took it may come once more.
    fn count(&self, site: &Site, caller: &Caller) -> Result<Option<u32>, Rejection> {
        if !site.sequence {
            return Ok(None);
        }
        let number = caller.sequence.ok_or(Rejection::BadSequence)?;
        let counted = self.context.store.write::<_, StoreError>(|change| {
            let last = change.call_number(&site.name)?;
            let again = last.doubtful && number == last.number;
            if number != last.number.wrapping_add(1) && !again {
                return Ok(false);
            }
            change.set_call_number(&site.name, CallNumber { number, doubtful: true })?;
            Ok(true)
        });
        match counted {
            Ok(true) => Ok(Some(number)),
            Ok(false) => Err(Rejection::BadSequence),
            Err(error) => {
                tracing::error!(error = with_causes(&error), "cannot count a call");
                Err(Rejection::Locked)
            }
        }
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
        if site.call_back {
            return Err(self.call_back(&site.name));
        }
        let lock = match self.context.store.lock(LockKind::Site, site.name.as_str()) {
            Ok(Some(lock)) => Arc::new(lock),
            Ok(None) => {
                // The caller has counted this call, and so do we.
                self.count(site, caller)?;
                return Err(Rejection::Locked);
            }
            Err(error) => {
                tracing::error!(error = with_causes(&error), "cannot lock a site");
                return Err(Rejection::Locked);
            }
        };
        if let Err(error) = super::forget_hang_up(&self.context, site) {
            tracing::error!(error = with_causes(&error), "cannot read the store");
            return Err(Rejection::Locked);
        }
        let number = self.count(site, caller)?;
        self.progress.meet(&site.name, &lock);
        let desk = StoreDesk::new(self.context.clone(), site.clone(), Arc::clone(&self.progress), number)
            .answering(lock, &self.peer);
        Ok(Welcome {
            site: site.name.clone(),
            desk: Box::new(desk),
            protocols: site.protocols.clone(),
            settings: site.settings.clone(),
            worst: Grade::LEAST,
            longest: Some(site.longest_call),
        })
    }
    fn called_chat(&self, site: &SiteName) -> Option<(Script, Credentials)> {
        let site = self.context.site(site.as_str()).filter(|site| !site.called_chat.is_empty())?;
        let credentials = site.credentials.as_ref().map(|c| c.0.clone()).unwrap_or_default();
        Some((site.called_chat.clone(), credentials))
    }
}
