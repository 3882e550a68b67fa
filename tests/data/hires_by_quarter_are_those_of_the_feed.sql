-- Quarters whose hires differ between the mart and the accepted rows.
with

mart as (

    select
        year,
        sum(q1) as q1,
        sum(q2) as q2,
        sum(q3) as q3,
        sum(q4) as q4
    from {{ ref('hires_by_quarter') }}
    group by year

),

feed as (

    select
        extract(year from hire_date) as year,
        sum(case when extract(month from hire_date) <= 3 then 1 else 0 end) as q1,
        sum(case when extract(month from hire_date) between 4 and 6 then 1 else 0 end) as q2,
        sum(case when extract(month from hire_date) between 7 and 9 then 1 else 0 end) as q3,
        sum(case when extract(month from hire_date) >= 10 then 1 else 0 end) as q4
    from {{ ref('stg_hired_employees') }}
    group by extract(year from hire_date)

)

select
    feed.year,
    feed.q1,
    feed.q2,
    feed.q3,
    feed.q4
from feed
left join mart
    on feed.year = mart.year
where
    mart.year is null
    or feed.q1 <> mart.q1
    or feed.q2 <> mart.q2
    or feed.q3 <> mart.q3
    or feed.q4 <> mart.q4
