-- Usage and transfers by month. Ids begin with the moment they were made (UUIDv7,
-- RFC 9562 §5.7), so a range of ids is a range of time: the primary key stays the
-- id alone, which is what makes a hold resolve exactly once, and the indexes of a
-- month that is over are never written again.

-- The lowest id that can be made at a moment.
CREATE FUNCTION "first_id_at"(moment timestamptz) RETURNS uuid LANGUAGE sql STABLE AS $$
  SELECT (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid $$;

-- The first moment of a calendar month (UTC).
CREATE FUNCTION "month_of"(moment timestamptz, months_later int DEFAULT 0) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT (date_trunc('month', moment AT TIME ZONE 'UTC') + months_later * interval '1 month') AT TIME ZONE 'UTC' $$;

DROP VIEW "ledger_entry";

DO $$
DECLARE
  parent text; old text; index record;
BEGIN
  FOREACH parent IN ARRAY ARRAY['usage', 'transfer'] LOOP
    -- What there is becomes the partition of this month and of all before it.
    old := parent || to_char(now() AT TIME ZONE 'UTC', '_YYYY_MM');
    EXECUTE format('ALTER TABLE %I RENAME TO %I', parent, old);
    FOR index IN SELECT indexname AS name FROM pg_indexes WHERE schemaname = current_schema() AND tablename = old LOOP
      EXECUTE format('ALTER INDEX %I RENAME TO %I', index.name, regexp_replace(index.name, '^' || parent, old));
    END LOOP;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) PARTITION BY RANGE (id)', parent, old);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%L)', parent, old, first_id_at(month_of(now(), 1)));
    -- For a month that nobody prepared: nothing is ever refused for want of a partition.
    EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', parent || '_other', parent);
    EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting_history()',
      parent || '_insert_only', parent);
    EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting_history()',
      parent || '_insert_only', parent || '_other');
  END LOOP;
END $$;

-- Makes the partitions of this month and the given number of months after it; says
-- how many are new. Several servers may ask at once. Attaching a partition lets
-- requests go on.
CREATE FUNCTION "prepare_partitions"(months int) RETURNS int LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
DECLARE
  parent text; part text; made int := 0;
BEGIN
  FOREACH parent IN ARRAY ARRAY['usage', 'transfer'] LOOP
    FOR later IN 0..months LOOP
      part := parent || to_char(month_of(now(), later) AT TIME ZONE 'UTC', '_YYYY_MM');
      CONTINUE WHEN to_regclass(quote_ident(part)) IS NOT NULL;
      BEGIN
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting_history()',
          parent || '_insert_only', part);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, part,
          first_id_at(month_of(now(), later)), first_id_at(month_of(now(), later + 1)));
        made := made + 1;
      EXCEPTION
        -- Another server was first.
        WHEN duplicate_table OR unique_violation THEN NULL;
        -- The month has begun in the table for months that nobody prepared, and stays there.
        WHEN check_violation THEN NULL;
      END;
    END LOOP;
  END LOOP;
  RETURN made;
END $$;

SELECT prepare_partitions(3);

-- As it was, over the new tables.
CREATE VIEW "ledger_entry" AS
  SELECT "id" AS "entry_id", "debit_id" AS "account_id", -"amount" AS "amount", "reason"::text AS "reason", "created_at" FROM "transfer"
  UNION ALL
  SELECT "id", "credit_id", "amount", "reason"::text, "created_at" FROM "transfer"
  UNION ALL
  SELECT "id", "wallet_id", -("base" + "markup"), 'completion', "created_at" FROM "usage" WHERE "base" + "markup" > 0
  UNION ALL
  SELECT "id", '00000000-0000-7000-8000-000000000004', -"shortfall", 'shortfall', "created_at" FROM "usage" WHERE "shortfall" > 0
  UNION ALL
  SELECT "id", "revenue_id", "base" + "shortfall", 'completion', "created_at" FROM "usage" WHERE "base" + "shortfall" > 0
  UNION ALL
  SELECT "id", "earnings_id", "markup", 'markup', "created_at" FROM "usage" WHERE "markup" > 0
  UNION ALL
  SELECT "id", "limit_id", -("base" + "markup"), 'allowance', "created_at" FROM "usage" WHERE "limit_id" IS NOT NULL AND "base" + "markup" > 0
  UNION ALL
  SELECT "id", '00000000-0000-7000-8000-000000000006', "base" + "markup", 'allowance', "created_at" FROM "usage" WHERE "limit_id" IS NOT NULL AND "base" + "markup" > 0;
