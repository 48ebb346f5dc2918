import { creditsOf } from "#money";
import { decide, keepFilledIn } from "#server/connect/consent.ts";
import { isOwnForm, ownForm, seeOther } from "#server/http/own-form.ts";
import { currentUser } from "#server/people/auth.ts";
import { allModels } from "#server/pricing/models.ts";

export const dynamic = "force-dynamic";

/** Receives the consent page's form: Allow or Cancel. */
export async function POST(request: Request, { params }: { params: Promise<{ uid: string }> }): Promise<Response> {
  const { uid } = await params;
  const page = `/connect/${encodeURIComponent(uid)}`;
  if (!isOwnForm(request)) return seeOther(`${page}?again=1`);
  const form = await ownForm(request);
  const sent = { uid, cookieHeader: request.headers.get("cookie") ?? "", token: form.get("token") ?? "" };
  const ticked = form.getAll("model");
  const models = allModels();
  const allowedModels = ticked.filter((id) => models.has(id));
  const allow = form.get("decision") === "allow";
  const limited = form.get("limited") !== "no";
  const amount = (form.get("limit") ?? "").trim();
  const typed = amount.length <= 20 ? amount : `${amount.slice(0, 19)}…`;
  // When all ticked models are gone, one id is kept, so that the page can say so.
  const kept = allowedModels.length > 0 ? allowedModels : ticked.slice(0, 1).map((id) => id.slice(0, 200));
  // However the user comes back to the page, the form is filled in as before.
  if (allow) await keepFilledIn(sent, { limited, limit: typed, models: kept });

  const user = await currentUser();
  if (user === null) return seeOther(`/sign-in?callbackUrl=${encodeURIComponent(page)}`);
  const asked = { ...sent, person: { userId: user.id, signedInAt: user.signedInAt } };
  if (!allow) return follow(await decide(asked, { kind: "deny" }), page);

  const monthlyLimit = limited ? creditsOf(typed) : null;
  // The page shows the error.
  if (limited && (monthlyLimit === null || monthlyLimit === 0n)) return seeOther(page);
  // No model means any, which a user who ticked models that are gone did not choose.
  if (ticked.length > 0 && allowedModels.length === 0) return seeOther(`${page}?again=1`);
  return follow(await decide(asked, { kind: "allow", monthlyLimit, allowedModels }), page);
}

function follow(outcome: Awaited<ReturnType<typeof decide>>, page: string): Response {
  if (outcome.kind === "goTo") return seeOther(outcome.url);
  // The page redirects to signing in.
  return seeOther(outcome.kind === "again" ? `${page}?again=1` : page);
}
