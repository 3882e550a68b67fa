-- Countries of the marketplace.
-- Grain: one row per country.
with

accepted as (

    select * from {{ ref('base_countries') }}
    where _reasons is null

),

renamed as (

    select
        ---------- ids
        id_country,

        ---------- texts
        country_name as country,
        continent,

        ---------- origin
        _file as source_file
    from accepted

)

select * from renamed
