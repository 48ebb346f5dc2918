/**
 * The ledger as plain arithmetic, one operation after the other: what the SQL
 * has to agree with, whatever it does in batches.
 */

export type ModelAccount = { available: bigint; held: bigint };
export type ModelApp = { markupBps: bigint; allowedModels: readonly string[]; owner: string; sandbox: string; earnings: string };
export type ModelKey = { app: ModelApp; mode: "developer" | "user" | "test"; valid: boolean };
export type ModelLink = {
  app: ModelApp;
  externalUserId: string;
  wallet: string;
  allowedModels: readonly string[];
  paused: boolean;
  limit: { account: string; monthly: bigint; spent: bigint; endsAt: number } | null;
};
export type ModelRequest = {
  id: string;
  key: ModelKey | null;
  externalUserId: string | null;
  model: string;
  desiredBase: bigint;
  minimumBase: bigint;
  modestBase: bigint;
  waits: boolean;
};
export type ModelVerdict = { kind: "held"; amount: bigint; wallet: string; limit: string | null } | { kind: "refused"; reason: string };
type ModelHold = {
  amount: bigint;
  wallet: string;
  limit: string | null;
  revenue: string;
  earnings: string;
  resolved: boolean;
  link: ModelLink | null;
  grown: Map<string, bigint>;
};

export class LedgerModel {
  readonly accounts = new Map<string, ModelAccount>();
  readonly links: ModelLink[] = [];
  readonly holds = new Map<string, ModelHold>();
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

  hold(request: ModelRequest): ModelVerdict {
    const { key } = request;
    if (key === null || !key.valid) return refused("invalid_api_key");
    const { app } = key;
    const notAllowed = (list: readonly string[]) => list.length > 0 && !list.includes(request.model);
    let wallet = app.owner;
    let link: ModelLink | undefined;
    if (key.mode === "test") {
      if (request.externalUserId === "sandbox_missing") return refused("not_found");
      if (notAllowed(app.allowedModels)) return refused("model_not_allowed");
      if (request.externalUserId === "sandbox_empty") return refused("insufficient_credits");
      wallet = app.sandbox;
    } else if (request.externalUserId === null) {
      if (key.mode === "user") return refused("user_required");
      if (notAllowed(app.allowedModels)) return refused("model_not_allowed");
    } else {
      link = this.links.find((each) => each.app === app && each.externalUserId === request.externalUserId && !each.paused);
      if (link === undefined) return refused("not_found");
      if (notAllowed(app.allowedModels) || notAllowed(link.allowedModels)) return refused("model_not_allowed");
      wallet = link.wallet;
    }
    const withMarkup = (base: bigint) => base + (base * app.markupBps + 9_999n) / 10_000n;
    const [desired, minimum, modest] = [withMarkup(request.desiredBase), withMarkup(request.minimumBase), withMarkup(request.modestBase)];
    const payer = this.account(wallet);
    const limit = link?.limit ? this.account(link.limit.account) : null;
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
    const isTest = key.mode === "test";
    const limitAccount = link?.limit?.account ?? null;
    this.holds.set(request.id, {
      amount,
      wallet,
      limit: limitAccount,
      revenue: isTest ? this.#platform.sandbox : this.#platform.revenue,
      earnings: isTest ? this.#platform.sandbox : app.earnings,
      resolved: false,
      link: link ?? null,
      grown: new Map(),
    });
    return { kind: "held", amount, wallet, limit: limitAccount };
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
    for (const link of this.links) if (link.limit !== null && link.limit.account === held.limit) link.limit.spent += charged;
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
  ): { kind: "grown"; amount: bigint } | { kind: "refused"; reason: string } {
    const held = this.holds.get(holdId);
    if (held === undefined || held.resolved) return { kind: "refused", reason: "resolved" };
    const earlier = held.grown.get(id);
    if (earlier !== undefined) return { kind: "grown", amount: earlier };
    const { link } = held;
    if (link !== null && (!this.links.includes(link) || link.paused || (link.limit?.account ?? null) !== held.limit)) {
      return { kind: "refused", reason: "not_found" };
    }
    const wallet = this.account(held.wallet);
    const limit = held.limit === null ? null : this.account(held.limit);
    const available = least(wallet.available, limit?.available ?? wallet.available);
    if (minimum > available) {
      if (minimum > wallet.available + wallet.held) return { kind: "refused", reason: "insufficient_credits" };
      if (limit !== null && minimum > limit.available + limit.held) return { kind: "refused", reason: "spending_limit_reached" };
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

  /** Whether the limit can stay in its account: false when more is spent and held than the new limit allows. */
  canSetLimit(link: ModelLink, monthly: bigint, now: number): boolean {
    if (link.limit === null) return false;
    const spent = link.limit.endsAt <= now ? 0n : link.limit.spent;
    return spent + this.account(link.limit.account).held <= monthly;
  }

  setLimit(link: ModelLink, monthly: bigint, now: number, endsAt: number): void {
    if (link.limit === null) throw new Error("the model changes limits, it opens none");
    const { limit } = link;
    if (limit.endsAt <= now) limit.spent = 0n;
    const account = this.account(limit.account);
    account.available = monthly - limit.spent - account.held;
    limit.monthly = monthly;
    limit.endsAt = endsAt;
  }

  refill(link: ModelLink, now: number, endsAt: number): void {
    if (link.limit !== null && link.limit.endsAt <= now) this.setLimit(link, link.limit.monthly, now, endsAt);
  }
}

const refused = (reason: string): ModelVerdict => ({ kind: "refused", reason });

function most(first: bigint, ...others: bigint[]): bigint {
  return others.reduce((largest, each) => (each > largest ? each : largest), first);
}

function least(first: bigint, ...others: bigint[]): bigint {
  return others.reduce((smallest, each) => (each < smallest ? each : smallest), first);
}
