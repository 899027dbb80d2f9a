//! The scheduler: whom to call now, when to look again; and the retry rule. Pure.
