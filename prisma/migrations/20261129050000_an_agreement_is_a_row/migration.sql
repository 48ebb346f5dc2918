-- What a person agreed to with an app is the agreement's row: limit, models and markup. Links point to it.
-- Nothing writes to links until this is committed, so that the triggers below miss no change.
LOCK TABLE "linked_user", "agreement" IN SHARE ROW EXCLUSIVE MODE;

ALTER TABLE "agreement"
  ADD COLUMN "limit_period_ends_at" TIMESTAMPTZ(3),
  ADD COLUMN "limit_overspent" BIGINT NOT NULL DEFAULT 0,
  ADD COLUMN "allowed_models" TEXT[] NOT NULL DEFAULT '{}',
  ADD COLUMN "agreed_markup_bps" INTEGER NOT NULL DEFAULT 0;

-- An agreement without a link has no limit in force.
UPDATE "agreement" g SET "monthly_limit" = NULL, "limit_elsewhere" = 0, "limit_elsewhere_holds" = '{}'
WHERE NOT EXISTS (SELECT 1 FROM "linked_user" l WHERE l.user_id = g.user_id AND l.app_id = g.app_id);

INSERT INTO "agreement" ("user_id", "app_id") SELECT DISTINCT user_id, app_id FROM "linked_user" ON CONFLICT DO NOTHING;
-- Limit and models are the same on all links of an agreement. The markup was each link's: the person pays the least that
-- they agreed to with a link that may spend.
UPDATE "agreement" g SET
  "monthly_limit" = l.monthly_limit, "limit_id" = coalesce(l.limit_id, g.limit_id), "limit_period_ends_at" = l.limit_period_ends_at,
  "limit_overspent" = l.limit_overspent, "limit_elsewhere" = l.limit_held_elsewhere,
  "limit_former_ids" = ARRAY(
    SELECT DISTINCT f.id FROM unnest(g.limit_former_ids || l.limit_former_ids || g.limit_id) f(id) WHERE f.id <> coalesce(l.limit_id, g.limit_id)),
  "allowed_models" = l.allowed_models,
  "agreed_markup_bps" = (
    SELECT coalesce(min(m.agreed_markup_bps) FILTER (WHERE m.scope LIKE '%credits.spend%'), min(m.agreed_markup_bps)) FROM "linked_user" m
    WHERE m.user_id = g.user_id AND m.app_id = g.app_id)
FROM (SELECT DISTINCT ON (user_id, app_id) * FROM "linked_user" ORDER BY user_id, app_id, id) l
WHERE l.user_id = g.user_id AND l.app_id = g.app_id;
UPDATE "linked_user" l SET "agreed_markup_bps" = g.agreed_markup_bps
FROM "agreement" g WHERE g.user_id = l.user_id AND g.app_id = l.app_id AND g.agreed_markup_bps <> l.agreed_markup_bps;

ALTER TABLE "linked_user" ADD CONSTRAINT "linked_user_user_id_app_id_fkey" FOREIGN KEY ("user_id", "app_id")
  REFERENCES "agreement"("user_id", "app_id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- For one version (docs/decisions/0019-an-agreement-is-a-row.md) the links keep copies, which servers of the version before
-- read and write: what changes in an agreement is written to its links, and what such a server writes to a link is
-- written to the agreement. This version makes links without a markup, and writes to no copy.
ALTER TABLE "linked_user" ALTER COLUMN "agreed_markup_bps" DROP NOT NULL;

CREATE FUNCTION "link_follows_agreement"() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  g agreement; is_first bool;
BEGIN
  INSERT INTO agreement (user_id, app_id) VALUES (NEW.user_id, NEW.app_id) ON CONFLICT DO NOTHING;
  SELECT * INTO g FROM agreement WHERE user_id = NEW.user_id AND app_id = NEW.app_id FOR NO KEY UPDATE;
  IF NEW.agreed_markup_bps IS NOT NULL THEN
    is_first := NOT EXISTS (SELECT 1 FROM linked_user l WHERE l.user_id = NEW.user_id AND l.app_id = NEW.app_id);
    UPDATE agreement SET monthly_limit = NEW.monthly_limit, limit_id = coalesce(NEW.limit_id, limit_id),
      limit_period_ends_at = NEW.limit_period_ends_at, limit_overspent = NEW.limit_overspent, limit_elsewhere = NEW.limit_held_elsewhere,
      allowed_models = NEW.allowed_models,
      agreed_markup_bps = CASE WHEN is_first OR NEW.scope LIKE '%credits.spend%' THEN NEW.agreed_markup_bps ELSE agreed_markup_bps END
    WHERE user_id = NEW.user_id AND app_id = NEW.app_id RETURNING * INTO g;
  END IF;
  NEW.monthly_limit := g.monthly_limit;
  NEW.limit_id := CASE WHEN g.monthly_limit IS NOT NULL THEN g.limit_id END;
  NEW.limit_period_ends_at := g.limit_period_ends_at;
  NEW.limit_overspent := g.limit_overspent;
  NEW.limit_held_elsewhere := g.limit_elsewhere;
  NEW.limit_former_ids := g.limit_former_ids;
  NEW.allowed_models := g.allowed_models;
  NEW.agreed_markup_bps := g.agreed_markup_bps;
  RETURN NEW;
END $$;
CREATE TRIGGER "linked_user_follows_agreement" BEFORE INSERT ON "linked_user" FOR EACH ROW EXECUTE FUNCTION "link_follows_agreement"();

CREATE FUNCTION "agreement_follows_link"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE agreement g SET monthly_limit = NEW.monthly_limit, limit_id = coalesce(NEW.limit_id, g.limit_id),
    limit_period_ends_at = NEW.limit_period_ends_at, limit_overspent = NEW.limit_overspent, limit_elsewhere = NEW.limit_held_elsewhere,
    limit_former_ids = ARRAY(
      SELECT DISTINCT f.id FROM unnest(g.limit_former_ids || NEW.limit_former_ids || g.limit_id) f(id)
      WHERE f.id <> coalesce(NEW.limit_id, g.limit_id)),
    allowed_models = NEW.allowed_models, agreed_markup_bps = NEW.agreed_markup_bps
  WHERE g.user_id = NEW.user_id AND g.app_id = NEW.app_id
    AND (g.monthly_limit, CASE WHEN g.monthly_limit IS NOT NULL THEN g.limit_id END, g.limit_period_ends_at, g.limit_overspent, g.limit_elsewhere,
      g.allowed_models, g.agreed_markup_bps)
      IS DISTINCT FROM (NEW.monthly_limit, NEW.limit_id, NEW.limit_period_ends_at, NEW.limit_overspent, NEW.limit_held_elsewhere,
      NEW.allowed_models, NEW.agreed_markup_bps);
  RETURN NULL;
END $$;
CREATE TRIGGER "linked_user_changes_agreement" AFTER UPDATE ON "linked_user" FOR EACH ROW
  WHEN (pg_trigger_depth() = 0 AND (OLD.monthly_limit, OLD.limit_id, OLD.limit_period_ends_at, OLD.limit_overspent, OLD.limit_held_elsewhere,
    OLD.allowed_models, OLD.agreed_markup_bps) IS DISTINCT FROM (NEW.monthly_limit, NEW.limit_id, NEW.limit_period_ends_at, NEW.limit_overspent,
    NEW.limit_held_elsewhere, NEW.allowed_models, NEW.agreed_markup_bps))
  EXECUTE FUNCTION "agreement_follows_link"();

CREATE FUNCTION "links_follow_agreement"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- In id order, as everybody locks links.
  PERFORM 1 FROM linked_user l WHERE l.user_id = NEW.user_id AND l.app_id = NEW.app_id ORDER BY l.id FOR NO KEY UPDATE;
  UPDATE linked_user l SET monthly_limit = NEW.monthly_limit, limit_id = CASE WHEN NEW.monthly_limit IS NOT NULL THEN NEW.limit_id END,
    limit_period_ends_at = NEW.limit_period_ends_at, limit_overspent = NEW.limit_overspent, limit_held_elsewhere = NEW.limit_elsewhere,
    limit_former_ids = NEW.limit_former_ids, allowed_models = NEW.allowed_models, agreed_markup_bps = NEW.agreed_markup_bps
  WHERE l.user_id = NEW.user_id AND l.app_id = NEW.app_id
    AND (l.monthly_limit, l.limit_id, l.limit_period_ends_at, l.limit_overspent, l.limit_held_elsewhere, l.limit_former_ids, l.allowed_models,
      l.agreed_markup_bps)
      IS DISTINCT FROM (NEW.monthly_limit, CASE WHEN NEW.monthly_limit IS NOT NULL THEN NEW.limit_id END, NEW.limit_period_ends_at,
      NEW.limit_overspent, NEW.limit_elsewhere, NEW.limit_former_ids, NEW.allowed_models, NEW.agreed_markup_bps);
  RETURN NULL;
END $$;
CREATE TRIGGER "agreement_changes_links" AFTER UPDATE ON "agreement" FOR EACH ROW
  WHEN ((OLD.monthly_limit, OLD.limit_id, OLD.limit_period_ends_at, OLD.limit_overspent, OLD.limit_elsewhere, OLD.limit_former_ids,
    OLD.allowed_models, OLD.agreed_markup_bps) IS DISTINCT FROM (NEW.monthly_limit, NEW.limit_id, NEW.limit_period_ends_at, NEW.limit_overspent,
    NEW.limit_elsewhere, NEW.limit_former_ids, NEW.allowed_models, NEW.agreed_markup_bps))
  EXECUTE FUNCTION "links_follow_agreement"();
