/**
 * A model of the ledger as plain arithmetic, one operation after the other. Property tests compare
 * the SQL with it, single and batched.
 */

export type ModelAccount = { available: bigint; held: bigint };
export type ModelApp = { markupBps: bigint; allowedModels: readonly string[]; owner: string; sandbox: string; earnings: string };
export type ModelKey = { app: ModelApp; mode: "developer" | "user" | "test"; valid: boolean };
export type ModelLink = {
  app: ModelApp;
  externalUserId: string;
  wallet: string;
  /** The app's markup when the user agreed. */
  agreedMarkupBps: bigint;
  /** The scopes that the user granted, separated by spaces. */
  scope: string;
  allowedModels: readonly string[];
  paused: boolean;
};
/** An access token: its link, and the scopes that the app asked for. `valid`: whether its grant exists. */
export type ModelToken = { link: ModelLink; scope: string; valid: boolean };
/** The agreement of a user with an app, and what the app took of the user's wallet this month, by all links. */
export type ModelAgreement = {
  app: ModelApp;
  wallet: string;
  /** The limit in credits a month; null without one. */
  monthly: bigint | null;
  /** The limit's account, which stays after the limit was removed. */
  account: string | null;
  /** Whether the limit's month has ended without a refill. */
  due: boolean;
  spent: bigint;
};
export type ModelRequest = {
  id: string;
  credential: ModelKey | ModelToken | null;
  externalUserId: string | null;
  model: string;
  desiredBase: bigint;
  minimumBase: bigint;
  modestBase: bigint;
  waits: boolean;
};
export type ModelVerdict =
  | { kind: "held"; amount: bigint; wallet: string; limit: string | null; markupBps: bigint; mayRead: boolean }
  | { kind: "refused"; reason: string }
  | { kind: "limit_due" };
type ModelPayer = { app: ModelApp; wallet: string; link: ModelLink | null; isTest: boolean; markupBps: bigint; mayRead: boolean };
type ModelHold = {
  amount: bigint;
  wallet: string;
  limit: string | null;
  revenue: string;
  earnings: string;
  resolved: boolean;
  link: ModelLink | null;
  agreement: ModelAgreement | null;
  grown: Map<string, bigint>;
};

export class LedgerModel {
  readonly accounts = new Map<string, ModelAccount>();
  readonly links: ModelLink[] = [];
  readonly holds = new Map<string, ModelHold>();
  readonly agreements: ModelAgreement[] = [];
  readonly #transfers = new Set<string>();
  readonly #platform: { revenue: string; shortfall: string; sandbox: string; unbounded: ReadonlySet<string> };

  constructor(platform: { revenue: string; shortfall: string; sandbox: string; unbounded: ReadonlySet<string> }) {
    this.#platform = platform;
  }

  account(id: string): ModelAccount {
    let account = this.accounts.get(id);
    if (account === undefined) {
      account = { available: 0n, held: 0n };
      this.accounts.set(id, account);
    }
    return account;
  }

  agreement({ app, wallet }: { app: ModelApp; wallet: string }): ModelAgreement {
    let agreement = this.agreements.find((each) => each.app === app && each.wallet === wallet);
    if (agreement === undefined) {
      agreement = { app, wallet, monthly: null, account: null, due: false, spent: 0n };
      this.agreements.push(agreement);
    }
    return agreement;
  }

  /** The payer, or the reason for a refusal. */
  #payer(request: ModelRequest): ModelPayer | string {
    const { credential } = request;
    if (credential === null || !credential.valid) return "invalid_api_key";
    if ("scope" in credential) {
      const { link, scope } = credential;
      if (!grants(scope, "credits.spend")) return "insufficient_scope";
      if (!this.links.includes(link)) return "invalid_api_key";
      if (!grants(link.scope, "credits.spend")) return "insufficient_scope";
      return link.paused ? "not_found" : ofLink(link, request, grants(scope, "credits.read"));
    }
    const { app, mode } = credential;
    const named = request.externalUserId;
    const own = { app, link: null, isTest: mode === "test", markupBps: app.markupBps, mayRead: true };
    if (mode === "test") {
      if (named === "sandbox_missing") return "not_found";
      if (!allows(app, request)) return "model_not_allowed";
      return named === "sandbox_empty" ? "insufficient_credits" : { ...own, wallet: app.sandbox };
    }
    if (named === null) {
      if (mode === "user") return "user_required";
      return allows(app, request) ? { ...own, wallet: app.owner } : "model_not_allowed";
    }
    const link = this.links.find((each) => each.app === app && each.externalUserId === named);
    if (link === undefined || link.paused || !grants(link.scope, "credits.spend")) return "not_found";
    return ofLink(link, request, true);
  }

  hold(request: ModelRequest): ModelVerdict {
    const found = this.#payer(request);
    if (typeof found === "string") return refused(found);
    const { app, wallet, link, isTest, markupBps, mayRead } = found;
    const agreement = link === null ? null : this.agreement(link);
    const limitAccount = agreement === null || agreement.monthly === null ? null : agreement.account;
    if (limitAccount !== null && agreement?.due) return { kind: "limit_due" };
    const withMarkup = (base: bigint) => base + (base * markupBps + 9_999n) / 10_000n;
    const [desired, minimum, modest] = [withMarkup(request.desiredBase), withMarkup(request.minimumBase), withMarkup(request.modestBase)];
    const payer = this.account(wallet);
    const limit = limitAccount === null ? null : this.account(limitAccount);
    const available = least(payer.available, limit?.available ?? payer.available);
    const walletTotal = payer.available + payer.held;
    const limitTotal = limit === null ? walletTotal : limit.available + limit.held;
    if (minimum > available || (request.waits && available < least(modest, desired, walletTotal, limitTotal))) {
      if (minimum > walletTotal) return refused("insufficient_credits");
      return refused(minimum > limitTotal ? "spending_limit_reached" : "credits_on_hold");
    }
    const amount = least(desired, available, most(minimum, modest, available / 8n));
    for (const account of limit === null ? [payer] : [payer, limit]) {
      account.available -= amount;
      account.held += amount;
    }
    this.holds.set(request.id, {
      amount,
      wallet,
      limit: limitAccount,
      revenue: isTest ? this.#platform.sandbox : this.#platform.revenue,
      earnings: isTest ? this.#platform.sandbox : app.earnings,
      resolved: false,
      link,
      agreement,
      grown: new Map(),
    });
    return { kind: "held", amount, wallet, limit: limitAccount, markupBps, mayRead };
  }

  settle(
    id: string,
    base: bigint,
    markup: bigint,
  ): { kind: "settled"; charged: bigint; balanceAfter: bigint } | { kind: "already_resolved" } | { kind: "unknown_hold" } {
    const held = this.holds.get(id);
    if (held === undefined) return { kind: "unknown_hold" };
    if (held.resolved) return { kind: "already_resolved" };
    held.resolved = true;
    const charged = least(base + markup, held.amount);
    for (const accountId of held.limit === null ? [held.wallet] : [held.wallet, held.limit]) {
      const account = this.account(accountId);
      account.held -= held.amount;
      account.available += held.amount - charged;
    }
    if (held.agreement !== null) held.agreement.spent += charged;
    this.account(held.revenue).available += base;
    const paidBase = least(base, held.amount);
    this.account(held.earnings).available += charged - paidBase;
    this.account(this.#platform.shortfall).available -= base - paidBase;
    const wallet = this.account(held.wallet);
    return { kind: "settled", charged, balanceAfter: wallet.available + wallet.held };
  }

  grow(
    id: string,
    holdId: string,
    desired: bigint,
    minimum: bigint,
  ): { kind: "grown"; amount: bigint } | { kind: "refused"; reason: string } | { kind: "limit_due" } {
    const held = this.holds.get(holdId);
    if (held === undefined || held.resolved) return { kind: "refused", reason: "resolved" };
    const earlier = held.grown.get(id);
    if (earlier !== undefined) return { kind: "grown", amount: earlier };
    const { link, agreement } = held;
    if (link !== null && agreement !== null) {
      const limitNow = agreement.monthly === null ? null : agreement.account;
      if (!this.links.includes(link) || link.paused || limitNow !== held.limit) return { kind: "refused", reason: "not_found" };
      if (limitNow !== null && agreement.due) return { kind: "limit_due" };
    }
    const wallet = this.account(held.wallet);
    const limit = held.limit === null ? null : this.account(held.limit);
    const available = least(wallet.available, limit?.available ?? wallet.available);
    if (minimum > available) {
      // This hold's own credits do not return while it is open.
      const others = (account: { available: bigint; held: bigint }) => account.available + account.held - held.amount;
      if (minimum > others(wallet)) return { kind: "refused", reason: "insufficient_credits" };
      if (limit !== null && minimum > others(limit)) return { kind: "refused", reason: "spending_limit_reached" };
      return { kind: "refused", reason: "credits_on_hold" };
    }
    const amount = least(desired, available);
    for (const account of limit === null ? [wallet] : [wallet, limit]) {
      account.available -= amount;
      account.held += amount;
    }
    held.amount += amount;
    held.grown.set(id, amount);
    return { kind: "grown", amount };
  }

  transfer(id: string, debitId: string, creditId: string, amount: bigint): "applied" | "duplicate" | "insufficient" {
    if (this.#transfers.has(id)) return "duplicate";
    const debit = this.account(debitId);
    if (!this.#platform.unbounded.has(debitId) && debit.available < amount) return "insufficient";
    debit.available -= amount;
    this.account(creditId).available += amount;
    this.#transfers.add(id);
    return "applied";
  }

  /** Credits that open requests of this agreement hold, on one account of the limit or on any. */
  #held(agreement: ModelAgreement, account?: string): bigint {
    let held = 0n;
    for (const hold of this.holds.values())
      if (!hold.resolved && hold.agreement === agreement && (account === undefined || hold.limit === account)) held += hold.amount;
    return held;
  }

  /**
   * Sets, removes, refills or recounts the limit. `account`: the account that the database uses from now
   * on. Returns why that account is wrong; null when it is right.
   */
  setLimit(agreement: ModelAgreement, monthly: bigint | null, account: string | null): string | null {
    agreement.monthly = monthly;
    agreement.due = false;
    if (monthly === null) return account === null ? null : "without a limit there is no account";
    if (account === null) return "a limit has an account";
    const allowed = monthly - agreement.spent - this.#held(agreement);
    const stays = agreement.account !== null && (allowed >= 0n || this.#held(agreement, agreement.account) === 0n);
    if (stays !== (account === agreement.account)) return stays ? "the account had to stay" : "another account had to take over";
    agreement.account = account;
    this.account(account).available = allowed > 0n ? allowed : 0n;
    return null;
  }

  /** Begins a new month: settled requests count for the month before, and limits are due for a refill. */
  monthPasses(): void {
    for (const agreement of this.agreements) {
      agreement.spent = 0n;
      agreement.due = agreement.monthly !== null && this.linksOf(agreement).length > 0;
    }
  }

  /** Consent through one link changes the markup for all links of the person to the app. */
  agreeOnMarkup(link: ModelLink, agreedMarkupBps: bigint): void {
    for (const each of this.linksOf(this.agreement(link))) each.agreedMarkupBps = agreedMarkupBps;
  }

  linksOf({ app, wallet }: ModelAgreement): ModelLink[] {
    return this.links.filter((link) => link.app === app && link.wallet === wallet);
  }

  /** Deletes a link. After the last one the agreement's limit ends, and a new link does not restore it. */
  unlink(link: ModelLink): void {
    const index = this.links.indexOf(link);
    if (index < 0) return;
    this.links.splice(index, 1);
    const agreement = this.agreement(link);
    if (this.linksOf(agreement).length > 0) return;
    agreement.monthly = null;
    agreement.due = false;
  }

  /** Describes an app that could take more than a limit in force; null when there is none. */
  broken(): string | null {
    for (const agreement of this.agreements) {
      if (agreement.monthly === null || agreement.account === null || agreement.due) continue;
      const left = agreement.monthly - agreement.spent - this.#held(agreement);
      const { available } = this.account(agreement.account);
      if (available > (left > 0n ? left : 0n)) return `${available} available where ${left} are left of ${agreement.monthly}`;
    }
    return null;
  }
}

const grants = (scope: string, what: string) => scope.split(" ").includes(what);
const allows = ({ allowedModels }: { allowedModels: readonly string[] }, { model }: ModelRequest) =>
  allowedModels.length === 0 || allowedModels.includes(model);

function ofLink(link: ModelLink, request: ModelRequest, mayBeTold: boolean): ModelPayer | string {
  const { app, wallet } = link;
  if (!allows(app, request) || !allows(link, request)) return "model_not_allowed";
  const mayRead = mayBeTold && grants(link.scope, "credits.read");
  return { app, wallet, link, isTest: false, markupBps: least(app.markupBps, link.agreedMarkupBps), mayRead };
}

const refused = (reason: string): ModelVerdict => ({ kind: "refused", reason });

function most(first: bigint, ...others: bigint[]): bigint {
  return others.reduce((largest, each) => (each > largest ? each : largest), first);
}

function least(first: bigint, ...others: bigint[]): bigint {
  return others.reduce((smallest, each) => (each < smallest ? each : smallest), first);
}
