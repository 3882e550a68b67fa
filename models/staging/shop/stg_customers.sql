-- Customers of the shop.
-- Grain: one row per customer.
with

accepted as (

    select * from {{ ref('base_customers') }}
    where _reasons is null

),

renamed as (

    select
        ---------- ids
        customer_id,

        ---------- texts
        name,
        country,

        ---------- times
        join_date,

        ---------- origin
        _file as source_file
    from accepted

)

select * from renamed
