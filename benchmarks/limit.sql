-- The limit: the project's marts in one hand-written script, as fast as DuckDB could be made to do it.
-- It is no warehouse. It reads the large sets of seeds/generate_data.py and nothing else: no aliases of
-- columns, no repeated keys, no cells to trim, no seeds, no line numbers, no record of what it leaves out,
-- no tests. Rows that the contracts reject do not count here either: the reader drops those with a cell that
-- cannot be cast, the where clauses those out of range. Columns that no mart needs are not looked at.
-- The variables have their defaults: BRL, UTC, 100 for each conversion, 31 days.
-- order_lines lacks source_file and source_line, since no line numbers are read; all else is the same, value
-- by value. An amount too large for the shorter arithmetic here is an error, never another value.
-- benchmarks/limit.py runs it; in any other client, first: set variable landing = 'folder';

set preserve_insertion_order = false;

-- Each statement is a transaction of its own: rows then go to the file while they are made, and the delete
-- below is of stored rows. All in one took a fifth longer.

create schema marts;

-- Half away from zero, of whole numbers: hugeint decimals, as in macros/metrics, take many times as long.
create temp macro quotient(numerator, denominator) as
    (2 * abs(numerator) + denominator) // nullif(2 * denominator, 0) * sign(numerator);
create temp macro hundredths(amount) as cast(amount * 100 as bigint);
create temp macro from_hundredths(whole) as cast(cast(whole as decimal(18, 0)) * 0.01 as decimal(28, 2));


---------- marketing

create table marts.ads_performance_daily as
with

summed as (

    select
        date,
        platform,
        account,
        campaign,
        country,
        device,
        cast(sum(spend) as decimal(18, 2)) as spend,
        cast(sum(impressions) as bigint) as impressions,
        cast(sum(clicks) as bigint) as clicks,
        cast(sum(conversions) as bigint) as conversions
    from read_csv(
        getvariable('landing') || '/ads_spend/ads_spend.csv',
        auto_detect = false, header = true, ignore_errors = true,
        columns = {
            'date': 'date', 'platform': 'varchar', 'account': 'varchar', 'campaign': 'varchar',
            'country': 'varchar', 'device': 'varchar', 'spend': 'decimal(18, 2)', 'clicks': 'bigint',
            'impressions': 'bigint', 'conversions': 'bigint'
        }
    )
    where
        date is not null and platform is not null and account is not null and campaign is not null
        and country is not null and device is not null
        and spend >= 0 and clicks >= 0 and impressions >= 0 and conversions >= 0
    group by date, platform, account, campaign, country, device

),

counted as (

    select
        *,
        hundredths(spend) as cents
    from summed

)

select
    date,
    platform,
    account,
    campaign,
    country,
    device,
    cast(spend as decimal(28, 2)) as spend,
    impressions,
    clicks,
    conversions,
    cast(conversions * 100 as decimal(28, 2)) as revenue,
    from_hundredths(quotient(cents, conversions)) as cac,
    from_hundredths(quotient(1000000 * conversions, cents)) as roas,
    cast(cast(quotient(10000 * clicks, impressions) as decimal(18, 0)) * 0.0001 as decimal(28, 4)) as ctr,
    from_hundredths(quotient(cents, clicks)) as cpc,
    from_hundredths(quotient(1000 * cents, impressions)) as cpm
from counted;


---------- shop: the lines

create temp table products as
select
    product_id,
    name,
    category,
    price,
    inventory_count
from read_csv(
    getvariable('landing') || '/products/products.csv',
    auto_detect = false, header = true, ignore_errors = true,
    columns = {
        'product_id': 'varchar', 'name': 'varchar', 'category': 'varchar',
        'price': 'decimal(18, 2)', 'inventory_count': 'integer'
    }
)
where
    product_id is not null and name is not null and category is not null and price >= 0
    and (inventory_count >= 0 or inventory_count is null);

-- A rate holds from its day to the day before the next one, 31 days at most.
create temp table usd_rates as
with

rates as (

    select
        rate_date,
        cast(rate as decimal(18, 10)) as fx_rate,
        lead(rate_date) over (order by rate_date) as next_rate_date
    from read_csv(
        getvariable('landing') || '/fx_rates/fx_rates.csv',
        auto_detect = false, header = true, ignore_errors = true,
        columns = {
            'rate_date': 'date', 'from_currency': 'varchar', 'to_currency': 'varchar',
            'rate': 'decimal(18, 10)'
        }
    )
    where rate_date is not null and from_currency = 'BRL' and to_currency = 'USD' and rate > 0

)

select
    cast(unnest(range(rate_date, least(next_rate_date, rate_date + 32), interval 1 day)) as date) as date,
    fx_rate,
    rate_date as fx_rate_date
from rates;

-- A header that is rejected puts its order on hold.
create temp table orders as
with

typed as (

    select
        order_id,
        customer_id,
        try_cast(order_date as timestamp) as ordered_at,
        try_cast(total_amount as decimal(18, 2)) as total_amount,
        status
    from read_csv(
        getvariable('landing') || '/orders/orders.csv',
        auto_detect = false, header = true, ignore_errors = true,
        columns = {
            'order_id': 'varchar', 'customer_id': 'varchar', 'order_date': 'varchar',
            'total_amount': 'varchar', 'status': 'varchar'
        }
    )
    where order_id is not null

),

judged as (

    select
        *,
        coalesce(
            customer_id is not null and ordered_at is not null
            and total_amount >= 0 and status in ('completed', 'pending', 'cancelled'), false
        ) as is_accepted
    from typed

),

accepted as (

    select
        order_id,
        customer_id,
        case when is_accepted then cast(ordered_at as date) end as date,
        total_amount as revenue,
        case when is_accepted then status else 'on_hold' end as status
    from judged

)

select
    accepted.*,
    usd_rates.fx_rate,
    usd_rates.fx_rate_date
from accepted
left join usd_rates on accepted.date = usd_rates.date;

-- The largest file, read once and written once. A line whose order has no header gets no status and its own
-- day for now; there are few of them.
create table marts.order_lines as
with

accepted as (

    select
        order_id,
        product_id,
        cast(quantity as bigint) as quantity,
        cast(ordered_at as date) as line_date
    from read_csv(
        getvariable('landing') || '/order_items/order_items.csv',
        auto_detect = false, header = true, ignore_errors = true,
        columns = {
            'order_id': 'varchar', 'product_id': 'varchar', 'quantity': 'integer',
            'ordered_at': 'timestamp'
        }
    )
    where order_id is not null and product_id is not null and quantity > 0

),

priced as (

    select
        accepted.*,
        products.product_id is not null as is_known_product,
        coalesce(products.name, 'Unknown') as product_name,
        coalesce(products.category, 'Unknown') as category,
        products.price as unit_price,
        cast(cast(accepted.quantity as decimal(18, 0)) * products.price as decimal(18, 2)) as total_price
    from accepted
    left join products on accepted.product_id = products.product_id

)

select
    coalesce(orders.date, priced.line_date) as date,
    priced.order_id,
    priced.product_id,
    priced.product_name,
    priced.category,
    priced.quantity,
    priced.unit_price,
    priced.total_price,
    'BRL' as currency,
    cast(priced.total_price * orders.fx_rate as decimal(28, 6)) as total_price_usd,
    orders.fx_rate,
    orders.fx_rate_date,
    orders.status,
    priced.is_known_product,
    orders.status = 'completed' as is_sale
from priced
left join orders on priced.order_id = orders.order_id;

create temp table headerless_lines as
select * from marts.order_lines
where status is null or status = 'on_hold';

delete from marts.order_lines
where status is null or status = 'on_hold';

-- An order without a header is completed, dated by its first line, and worth the sum of its lines; so is
-- one on hold, but no sale.
create temp table headerless_orders as
with

summed as (

    select
        order_id,
        coalesce(any_value(status), 'completed') as status,
        min(date) as date,
        cast(sum(total_price) as decimal(18, 2)) as revenue
    from headerless_lines
    group by order_id

)

select
    summed.*,
    usd_rates.fx_rate,
    usd_rates.fx_rate_date
from summed
left join usd_rates on summed.date = usd_rates.date;

insert into marts.order_lines
select
    headerless_lines.* replace (
        headerless_orders.date as date,
        cast(headerless_lines.total_price * headerless_orders.fx_rate as decimal(28, 6)) as total_price_usd,
        headerless_orders.fx_rate as fx_rate,
        headerless_orders.fx_rate_date as fx_rate_date,
        headerless_orders.status as status,
        headerless_orders.status = 'completed' and headerless_orders.date is not null as is_sale
    )
from headerless_lines
inner join headerless_orders on headerless_lines.order_id = headerless_orders.order_id;


---------- shop: orders by day and by customer

create temp table sold_orders as
select customer_id, date, revenue
from orders
where status = 'completed'

union all

select null as customer_id, date, revenue
from headerless_orders
where status = 'completed' and date is not null;

create temp table days as
select cast(unnest(range(min(date), max(date) + 1, interval 1 day)) as date) as date
from sold_orders;

create table marts.daily_sales as
with

order_totals as (

    select
        date,
        sum(revenue) as total_sales,
        count(*) as order_count
    from sold_orders
    group by date

),

line_totals as (

    select
        date,
        sum(quantity) as units
    from marts.order_lines
    where is_sale
    group by date

),

daily_totals as (

    select
        days.date,
        cast(coalesce(order_totals.total_sales, 0) as decimal(18, 2)) as total_sales,
        coalesce(order_totals.order_count, 0) as order_count,
        cast(coalesce(line_totals.units, 0) as bigint) as units,
        usd_rates.fx_rate
    from days
    left join order_totals on days.date = order_totals.date
    left join line_totals on days.date = line_totals.date
    left join usd_rates on days.date = usd_rates.date

)

select
    date,
    cast(total_sales as decimal(28, 2)) as total_sales,
    'BRL' as currency,
    order_count,
    from_hundredths(quotient(hundredths(total_sales), order_count)) as average_order_value,
    units,
    case
        when total_sales = 0 then 0
        else cast(cast(total_sales as decimal(28, 2)) * fx_rate as decimal(28, 2))
    end as total_sales_usd
from daily_totals;

create table marts.customer_lifetime_value as
with

customers as (

    select
        customer_id,
        name,
        country,
        join_date
    from read_csv(
        getvariable('landing') || '/customers/customers.csv',
        auto_detect = false, header = true, ignore_errors = true,
        columns = {
            'customer_id': 'varchar', 'name': 'varchar', 'email': 'varchar', 'country': 'varchar',
            'join_date': 'date'
        }
    )
    where customer_id is not null

),

spending as (

    select
        customer_id,
        sum(revenue) as total_spent,
        count(*) as order_count,
        min(date) as first_order_date,
        max(date) as last_order_date
    from sold_orders
    group by customer_id

),

members as (

    select
        customers.*,
        coalesce(spending.total_spent, 0) as total_spent,
        coalesce(spending.order_count, 0) as order_count,
        spending.first_order_date,
        spending.last_order_date,
        true as is_known
    from customers
    left join spending on customers.customer_id = spending.customer_id

    union all

    select
        'Unknown' as customer_id,
        'Unknown' as name,
        'Unknown' as country,
        null as join_date,
        coalesce(sum(spending.total_spent), 0) as total_spent,
        sum(spending.order_count) as order_count,
        min(spending.first_order_date) as first_order_date,
        max(spending.last_order_date) as last_order_date,
        false as is_known
    from spending
    anti join customers on spending.customer_id = customers.customer_id
    having count(*) > 0

),

typed as (

    select
        * replace (
            cast(total_spent as decimal(18, 2)) as total_spent, cast(order_count as bigint) as order_count
        )
    from members

)

select
    customer_id,
    name,
    country,
    join_date,
    cast(total_spent as decimal(28, 2)) as total_spent,
    'BRL' as currency,
    order_count,
    from_hundredths(quotient(hundredths(total_spent), order_count)) as average_order_value,
    first_order_date,
    last_order_date,
    case
        when is_known then row_number() over (
            order by is_known desc, total_spent desc, name asc nulls last, customer_id asc
        )
    end as spend_rank
from typed;


---------- shop: products and categories

-- Sums are not rounded yet; categories are summed from them. Distinct orders cannot be.
create temp table product_sales as
select
    case when is_known_product then product_id else 'Unknown' end as product_id,
    category,
    sum(quantity) as units_sold,
    count(distinct order_id) as order_count,
    sum(total_price) as revenue,
    sum(total_price_usd) as revenue_usd,
    count(total_price) - count(total_price_usd) as lines_without_rate,
    min(date) as first_sale_date,
    max(date) as last_sale_date
from marts.order_lines
where is_sale
group by all;

create table marts.product_metrics as
with

members as (

    select
        *,
        true as is_known
    from products

    union all

    select
        'Unknown' as product_id,
        'Unknown' as name,
        'Unknown' as category,
        null as price,
        null as inventory_count,
        false as is_known
    from product_sales
    where product_id = 'Unknown'

),

measured as (

    select
        members.*,
        cast(coalesce(product_sales.units_sold, 0) as bigint) as units_sold,
        coalesce(product_sales.order_count, 0) as order_count,
        case when product_sales.product_id is null then 0 else product_sales.revenue end as revenue,
        case when product_sales.product_id is null then 0 else product_sales.revenue_usd end as revenue_usd,
        coalesce(product_sales.lines_without_rate, 0) as lines_without_rate,
        product_sales.first_sale_date,
        product_sales.last_sale_date
    from members
    left join product_sales on members.product_id = product_sales.product_id

)

select
    product_id,
    name,
    category,
    price,
    'BRL' as currency,
    units_sold,
    order_count,
    cast(revenue as decimal(28, 2)) as revenue,
    cast(revenue_usd as decimal(28, 2)) as revenue_usd,
    lines_without_rate,
    first_sale_date,
    last_sale_date,
    cast(inventory_count as bigint) as inventory_count,
    cast(price * cast(inventory_count as decimal(10, 0)) as decimal(28, 2)) as inventory_value,
    case
        when is_known then row_number() over (
            order by is_known desc, units_sold desc, name asc, product_id asc
        )
    end as units_rank
from measured;

create table marts.category_metrics as
with

categories as (

    select
        category,
        bool_or(product_id <> 'Unknown') as is_known
    from marts.product_metrics
    group by category

),

sales as (

    select
        category,
        sum(units_sold) as units_sold,
        sum(revenue) as revenue,
        sum(revenue_usd) as revenue_usd,
        sum(lines_without_rate) as lines_without_rate
    from product_sales
    group by category

),

order_counts as (

    select
        category,
        count(distinct order_id) as order_count
    from marts.order_lines
    where is_sale
    group by category

),

measured as (

    select
        categories.*,
        cast(coalesce(sales.units_sold, 0) as bigint) as units_sold,
        coalesce(order_counts.order_count, 0) as order_count,
        case when sales.category is null then 0 else sales.revenue end as revenue,
        case when sales.category is null then 0 else sales.revenue_usd end as revenue_usd,
        cast(coalesce(sales.lines_without_rate, 0) as bigint) as lines_without_rate
    from categories
    left join sales on categories.category = sales.category
    left join order_counts on categories.category = order_counts.category

)

select
    category,
    'BRL' as currency,
    units_sold,
    order_count,
    cast(revenue as decimal(28, 2)) as revenue,
    cast(revenue_usd as decimal(28, 2)) as revenue_usd,
    lines_without_rate,
    case
        when is_known then row_number() over (order by is_known desc, units_sold desc, category asc)
    end as units_rank
from measured;


---------- shop: growth, the mart with the most rows

-- The cells of the grid of products and days are numbered, product by product. The units of a cell are found
-- by its number, and those of the day before are in the cell before: no sort, no window over text.
create temp table numbered_products as
select
    row_number() over () - 1 as product_number,
    product_id,
    name
from marts.product_metrics;

create temp table numbered_days as
select
    row_number() over (order by date) - 1 as day_number,
    date
from days;

set variable product_count = (select count(*) from numbered_products);
set variable day_count = (select count(*) from numbered_days);

create temp table units_by_cell as
select
    numbered_products.product_number * getvariable('day_count') + numbered_days.day_number as cell,
    cast(sum(order_lines.quantity) as bigint) as units
from marts.order_lines
inner join numbered_products
    on case when order_lines.is_known_product then order_lines.product_id else 'Unknown' end
    = numbered_products.product_id
inner join numbered_days on order_lines.date = numbered_days.date
where order_lines.is_sale
group by all;

-- The cells must stay in their order up to the window, so the tables are joined as written. This runs on one
-- thread in part, and took about half the processor time of a window over products and days.
set preserve_insertion_order = true;
set disabled_optimizers = 'join_order,build_side_probe_side';

create table marts.product_daily_growth as
with

cells as (

    select
        numbers.cell // getvariable('day_count') as product_number,
        numbers.cell % getvariable('day_count') as day_number,
        coalesce(units_by_cell.units, 0) as units
    from range(getvariable('product_count') * getvariable('day_count')) as numbers (cell)
    left join units_by_cell on numbers.cell = units_by_cell.cell

),

with_cell_before as (

    select
        *,
        lag(units) over () as units_cell_before
    from cells

),

with_previous_day as (

    select
        numbered_days.date,
        numbered_products.product_id,
        numbered_products.name,
        with_cell_before.units,
        case when with_cell_before.day_number > 0 then with_cell_before.units_cell_before end
            as units_previous_day
    from with_cell_before
    inner join numbered_products on with_cell_before.product_number = numbered_products.product_number
    inner join numbered_days on with_cell_before.day_number = numbered_days.day_number

)

select
    *,
    units - units_previous_day as growth
from with_previous_day;

set preserve_insertion_order = false;
reset disabled_optimizers;


---------- shop: headlines

create table marts.order_kpis as
with

busiest_day as (

    select
        date as busiest_date,
        order_count as busiest_date_orders
    from marts.daily_sales
    order by order_count desc, date asc
    limit 1

),

top_product as (

    select
        product_id as top_product_id,
        name as top_product,
        units_sold as top_product_units,
        revenue as top_product_sales,
        revenue_usd as top_product_sales_usd
    from marts.product_metrics
    where units_rank = 1 and units_sold > 0

),

top_categories as (

    select string_agg(category, ' > ' order by units_rank) as top_categories
    from marts.category_metrics
    where units_rank <= 3 and units_sold > 0

),

average_ticket as (

    select
        from_hundredths(
            quotient(hundredths(cast(sum(total_sales) as decimal(18, 2))), cast(sum(order_count) as bigint))
        ) as average_ticket
    from marts.daily_sales

),

fastest_growth as (

    select
        name as fastest_growing_product,
        date as fastest_growing_date,
        growth as fastest_growing_units
    from marts.product_daily_growth
    where growth > 0 and product_id <> 'Unknown'
    order by growth desc, date asc, name asc, product_id asc
    limit 1

)

select
    busiest_day.busiest_date,
    busiest_day.busiest_date_orders,
    top_product.top_product_id,
    top_product.top_product,
    top_product.top_product_units,
    top_product.top_product_sales,
    top_product.top_product_sales_usd,
    top_categories.top_categories,
    average_ticket.average_ticket,
    'BRL' as currency,
    fastest_growth.fastest_growing_product,
    fastest_growth.fastest_growing_date,
    fastest_growth.fastest_growing_units
from average_ticket
cross join top_categories
left join busiest_day on true
left join top_product on true
left join fastest_growth on true;


---------- marketplace

create temp table countries as
select
    id_country,
    country,
    region as continent
from read_csv(
    getvariable('landing') || '/countries/countries.csv',
    auto_detect = false, header = true, ignore_errors = true,
    columns = {'id_country': 'varchar', 'country': 'varchar', 'region': 'varchar'}
)
where id_country is not null and country is not null;

create temp table sales as
select
    id_buyer,
    id_seller_country,
    id_buyer_country,
    cast(date_payment as date) as date,
    coalesce(category, 'Unknown') as category,
    revenue
from read_csv(
    getvariable('landing') || '/sales/sales.csv',
    auto_detect = false, header = true, ignore_errors = true,
    columns = {
        'id_order': 'varchar', 'id_product': 'varchar', 'id_buyer': 'varchar', 'id_seller': 'varchar',
        'id_seller_country': 'varchar', 'id_buyer_country': 'varchar', 'date_payment': 'timestamp',
        'brand': 'varchar', 'category': 'varchar', 'revenue': 'decimal(18, 6)'
    }
)
where
    id_buyer is not null and id_seller_country is not null and id_buyer_country is not null
    and date_payment is not null and revenue >= 0
    and (
        category in (
            'clothing', 'shoes', 'accessories', 'jewellery', 'bags', 'design & decoration', 'boys', 'girls',
            'sport & leisure', 'high-tech', 'art & culture', 'pet accessories'
        )
        or category is null
    );

create table marts.sales_by_category_daily as
select
    date,
    category,
    count(*) as sales_count,
    cast(sum(revenue) as decimal(28, 6)) as revenue
from sales
group by date, category;

-- Both marts about countries are summed from this: sales by pair, with what is known of the two.
create temp table trade as
with

summed as (

    select
        id_seller_country,
        id_buyer_country,
        sum(revenue) as revenue,
        count(*) as items
    from sales
    group by id_seller_country, id_buyer_country

)

select
    sellers.id_country as id_seller_country,
    sellers.country as seller_country,
    sellers.continent as seller_continent,
    buyers.id_country as id_buyer_country,
    buyers.country as buyer_country,
    summed.revenue,
    summed.items
from summed
left join countries as sellers on summed.id_seller_country = sellers.id_country
left join countries as buyers on summed.id_buyer_country = buyers.id_country;

create table marts.country_contribution as
with

by_country as (

    select
        coalesce(id_seller_country, 'Unknown') as id_country,
        coalesce(seller_country, 'Unknown') as country,
        case when id_seller_country is null then 'Unknown' else seller_continent end as continent,
        cast(sum(revenue) as decimal(28, 6)) as revenue,
        cast(sum(items) as bigint) as items
    from trade
    group by all

),

counted as (

    select
        *,
        cast(revenue * cast(1000000 as decimal(7, 0)) as hugeint) as millionths
    from by_country

)

select
    id_country,
    country,
    continent,
    cast(revenue as decimal(28, 2)) as revenue,
    items,
    from_hundredths(quotient(10000 * millionths, sum(millionths) over ())) as revenue_pct,
    from_hundredths(quotient(10000 * items, sum(items) over ())) as items_pct
from counted;

create table marts.country_relationships as
with

paired as (

    select
        (seller_country, id_seller_country) < (buyer_country, id_buyer_country) as is_seller_first,
        case when is_seller_first then id_seller_country else id_buyer_country end as id_country_a,
        case when is_seller_first then id_buyer_country else id_seller_country end as id_country_b,
        case when is_seller_first then seller_country else buyer_country end as country_a,
        case when is_seller_first then buyer_country else seller_country end as country_b,
        revenue,
        items
    from trade
    where id_seller_country <> id_buyer_country

),

summed as (

    select
        id_country_a,
        id_country_b,
        country_a,
        country_b,
        sum(revenue) as combined_revenue,
        cast(sum(items) as bigint) as sales_count
    from paired
    group by all

)

select
    id_country_a,
    country_a,
    id_country_b,
    country_b,
    cast(combined_revenue as decimal(28, 2)) as combined_revenue,
    sales_count,
    row_number() over (
        order by combined_revenue desc, country_a asc, country_b asc, id_country_a asc, id_country_b asc
    ) as revenue_rank
from summed;

create table marts.repeat_buyer_revenue as
with

months as (

    select
        cast(
            unnest(
                generate_series(date_trunc('month', min(date)), date_trunc('month', max(date)), interval 1 month)
            ) as date
        ) as month_start
    from sales

),

buyers as (

    select
        cast(date_trunc('month', date) as date) as month_start,
        id_buyer,
        sum(revenue) filter (where day(date) <= 7) as week1_revenue,
        sum(revenue) filter (where day(date) > 7) as week2_revenue
    from sales
    where day(date) <= 14
    group by month_start, id_buyer

),

repeat_buyers as (

    select
        month_start,
        count(*) as repeat_buyers,
        cast(sum(week1_revenue) as decimal(28, 6)) as week1_revenue,
        cast(sum(week2_revenue) as decimal(28, 6)) as week2_revenue
    from buyers
    where week1_revenue is not null and week2_revenue is not null
    group by month_start

),

counted as (

    select
        *,
        cast(week1_revenue * cast(1000000 as decimal(7, 0)) as hugeint) as week1_millionths,
        cast(week2_revenue * cast(1000000 as decimal(7, 0)) as hugeint) as week2_millionths
    from repeat_buyers

)

select
    strftime(months.month_start, '%Y-%m') as month,
    coalesce(counted.repeat_buyers, 0) as repeat_buyers,
    cast(coalesce(counted.week1_revenue, 0) as decimal(28, 2)) as week1_revenue,
    cast(coalesce(counted.week2_revenue, 0) as decimal(28, 2)) as week2_revenue,
    from_hundredths(
        quotient(10000 * (counted.week2_millionths - counted.week1_millionths), counted.week1_millionths)
    ) as change_pct
from months
left join counted on months.month_start = counted.month_start;


---------- hiring

create temp table hires as
with

hired_employees as (

    select
        department_id,
        job_id,
        cast(datetime as date) as hire_date
    from read_csv(
        getvariable('landing') || '/hired_employees/hired_employees.csv',
        auto_detect = false, header = true, ignore_errors = true,
        columns = {
            'id': 'integer', 'name': 'varchar', 'datetime': 'timestamp', 'department_id': 'integer',
            'job_id': 'integer'
        }
    )
    where id is not null and datetime is not null

),

departments as (

    select *
    from read_csv(
        getvariable('landing') || '/departments/departments.csv',
        auto_detect = false, header = true, ignore_errors = true,
        columns = {'id': 'integer', 'department': 'varchar'}
    )
    where id is not null and department is not null

),

jobs as (

    select *
    from read_csv(
        getvariable('landing') || '/jobs/jobs.csv',
        auto_detect = false, header = true, ignore_errors = true,
        columns = {'id': 'integer', 'job': 'varchar'}
    )
    where id is not null and job is not null

)

select
    year(hired_employees.hire_date) as year,
    quarter(hired_employees.hire_date) as quarter,
    cast(departments.id as bigint) as department_id,
    coalesce(departments.department, 'Unknown') as department,
    cast(jobs.id as bigint) as job_id,
    coalesce(jobs.job, 'Unknown') as job
from hired_employees
left join departments on hired_employees.department_id = departments.id
left join jobs on hired_employees.job_id = jobs.id;

create table marts.hires_by_quarter as
select
    year,
    department_id,
    department,
    job_id,
    job,
    count(*) filter (where quarter = 1) as q1,
    count(*) filter (where quarter = 2) as q2,
    count(*) filter (where quarter = 3) as q3,
    count(*) filter (where quarter = 4) as q4,
    count(*) as total,
    department_id is null or job_id is null as is_unknown
from hires
group by year, department_id, department, job_id, job;

create table marts.departments_above_mean as
with

by_department as (

    select
        year,
        department_id as id,
        department,
        count(*) as hired
    from hires
    where department_id is not null
    group by year, department_id, department

),

by_year as (

    select
        *,
        cast(sum(hired) over (partition by year) as bigint) as all_hired,
        count(*) over (partition by year) as hiring_departments
    from by_department

)

select
    year,
    id,
    department,
    hired,
    from_hundredths(quotient(100 * all_hired, hiring_departments)) as mean_hired,
    hired * hiring_departments > all_hired as is_above_mean
from by_year;
