-- How its guest came to be, as its bait has said; null until that is known.
alter table vwn add column made_by text check (made_by in ('clone', 'boot'));
