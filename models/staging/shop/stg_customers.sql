-- Customers of the shop.
-- Grain: one row per customer.
with

accepted as (

    {{ accepted_rows('customers') }}

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
