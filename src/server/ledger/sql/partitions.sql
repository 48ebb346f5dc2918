-- Makes the partitions of this month and of the given number of months after it; returns how many it made. Several
-- servers may call it at once. Attaching a partition does not block requests.
CREATE OR REPLACE FUNCTION "prepare_partitions"(months int) RETURNS int LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
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
        -- Another server made the same partition.
        WHEN duplicate_table OR duplicate_object OR unique_violation THEN NULL;
        -- The default partition has rows of this month, so they stay there.
        WHEN check_violation THEN NULL;
      END;
    END LOOP;
  END LOOP;
  RETURN made;
END $$;
