-- Countries of the marketplace.
-- Grain: one row per country.
with

accepted as (

    {{ accepted_rows('countries') }}

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
