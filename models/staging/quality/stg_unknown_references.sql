-- Accepted rows whose reference points nowhere. They are not rejected: the marts count them under
-- the "Unknown" member. The references are those of the contracts.
-- Grain: one row per feed and column that refers to another feed.
{{ unknown_references() }}
