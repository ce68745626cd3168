//! A report as a page that stands alone: drawings and tables in one file, no script, nothing fetched.

mod chart;
mod escape;
mod page;

pub use page::page;
