//! Where session, store and link meet: one call.
