-- Countries that are called otherwise, or lie elsewhere, than the countries feed says.
select
    country_contribution.id_country,
    country_contribution.country,
    country_contribution.continent
from {{ ref('country_contribution') }} as country_contribution
inner join {{ ref('stg_countries') }} as countries
    on country_contribution.id_country = countries.id_country
where
    country_contribution.country <> countries.country
    or coalesce(country_contribution.continent, '') <> coalesce(countries.continent, '')
