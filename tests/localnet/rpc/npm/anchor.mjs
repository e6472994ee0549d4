// An unmodified @coral-xyz/anchor against an RPC server: node anchor.mjs RPC_URL IDL [TREASURY]
// An assertion fails, or the script exits and prints what it created as one line of JSON.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import anchor from "@coral-xyz/anchor";
import { Connection, Keypair, LAMPORTS_PER_SOL, PublicKey } from "@solana/web3.js";

const { AnchorError, AnchorProvider, BN, Program, Wallet } = anchor;
const MODEL_CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";
const GRADIENT_CID = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG";
const REWARD = 200_000_000; // of which the referrer earns more than the rent of its account
const FEE = 20_000_000;
const TREASURY_BPS = 200;
const PATIENCE_MS = 10_000;

const [url, idlPath, treasuryAddress] = process.argv.slice(2);
const idl = JSON.parse(readFileSync(idlPath, "utf8"));
const connection = new Connection(url, "confirmed");

async function participant() {
  const keypair = Keypair.generate();
  const latest = await connection.getLatestBlockhash();
  const signature = await connection.requestAirdrop(keypair.publicKey, 10 * LAMPORTS_PER_SOL);
  await connection.confirmTransaction({ signature, ...latest });
  const provider = new AnchorProvider(connection, new Wallet(keypair), { commitment: "confirmed" });
  return { key: keypair.publicKey, program: new Program(idl, provider) };
}

const [creator, validator, trainer] = await Promise.all([participant(), participant(), participant()]);
const { program } = creator;
const referrer = Keypair.generate().publicKey;
// The accounts that paying instructions need and Anchor does not derive; "null" is an absent optional account.
const treasury = treasuryAddress === undefined ? null : new PublicKey(treasuryAddress);
const paying = (who) => (treasury === null ? {} : { treasury, referrer: who });
const feeOf = (lamports) => (treasury === null ? 0 : Math.floor((lamports * TREASURY_BPS) / 10_000));

const events = [];
let wake = () => {};
const numbers = program.rawIdl.events.map(({ name }) => {
  const camel = name[0].toLowerCase() + name.slice(1);
  return program.addEventListener(camel, (event, slot, signature) => {
    events.push({ name, event, slot, signature });
    wake();
  });
});
async function heard(name) {
  const deadline = setTimeout(() => {
    throw new Error(`no ${name} among ${events.map((entry) => entry.name)}`);
  }, PATIENCE_MS);
  let found;
  while (!(found = events.find((entry) => entry.name === name))) await new Promise((resolve) => (wake = resolve));
  clearTimeout(deadline);
  return found;
}
// Requests over one connection keep their order: once slots arrive, the earlier subscription is active.
await new Promise((resolve) => {
  const number = connection.onSlotChange(() => {
    connection.removeSlotChangeListener(number);
    resolve();
  });
});

await program.methods.initialize().rpc();
const id = new BN(0);
const signature = await program.methods.createRound(id, MODEL_CID, { mnist: {} }, new BN(REWARD)).rpc();
const { roundCounter, round, vault } = await program.methods
  .createRound(id, MODEL_CID, { mnist: {} }, new BN(REWARD))
  .pubkeys();

const created = await heard("RoundCreated");
assert.equal(created.signature, signature);
assert.ok(created.event.roundId.eq(id));
assert.ok(created.event.creator.equals(creator.key));
assert.equal(created.event.modelCid, MODEL_CID);
assert.deepEqual(created.event.dataset, { mnist: {} });
assert.ok(created.event.rewardAmount.eq(new BN(REWARD)));

const fetched = await program.account.round.fetch(round);
assert.ok(fetched.id.eq(id));
assert.ok(fetched.creator.equals(creator.key));
assert.equal(fetched.modelCid, MODEL_CID);
assert.deepEqual(fetched.dataset, { mnist: {} });
assert.deepEqual(fetched.status, { waitingValidator: {} });
assert.ok(fetched.validatorDeadline.eq(created.event.validatorDeadline));
assert.equal((await program.account.roundCounter.fetch(roundCounter)).count.toNumber(), 1);
assert.equal(await program.account.round.fetchNullable(vault), null);
const mine = await program.account.round.all([{ memcmp: { offset: 16, bytes: creator.key.toBase58() } }]);
assert.deepEqual(mine.map((entry) => entry.publicKey.toBase58()), [round.toBase58()]);

// The program's errors and Anchor's own errors arrive as instances of Anchor's class.
const refusals = [
  [program.methods.createRound(new BN(1), MODEL_CID, { mnist: {} }, new BN(0)), "ZeroReward", 6001],
  [program.methods.createRound(new BN(7), MODEL_CID, { mnist: {} }, new BN(1)), "InvalidRoundId", 6002],
  [trainer.program.methods.cancelRound(id), "ConstraintHasOne", 2001],
];
for (const [call, code, number] of refusals) {
  await assert.rejects(call.rpc(), (error) => {
    assert.ok(error instanceof AnchorError, String(error));
    assert.deepEqual(error.error.errorCode, { code, number });
    return true;
  });
}

// A complete round, with the addresses that Anchor derives.
const { methods } = validator.program;
await methods.claimRound(id).rpc();
await trainer.program.methods.joinRound(id).rpc();
await methods.startTraining(id, 5000).rpc();
const { submission } = await trainer.program.methods.submitGradients(id, GRADIENT_CID).pubkeys();
await trainer.program.methods.submitGradients(id, GRADIENT_CID).rpc();
await methods.setContribution(id, 10_000).accounts({ submission }).rpc();
if (treasury !== null) {
  const wrong = methods.completeValidation(id).accounts({ treasury: creator.key, referrer: null });
  await assert.rejects(wrong.rpc(), (error) => {
    assert.deepEqual(error.error.errorCode, { code: "InvalidTreasury", number: 6021 });
    return true;
  });
}
await methods.completeValidation(id).accounts(paying(null)).rpc();
const held = treasury === null ? 0 : await connection.getBalance(treasury);
const before = await connection.getBalance(trainer.key);
await trainer.program.methods.claimReward(id).accounts(paying(referrer)).rpc();
const earned = (await connection.getBalance(trainer.key)) - before;
const fee = feeOf(REWARD - FEE);
const half = Math.floor(fee / 2);
assert.equal(earned, REWARD - FEE - fee - 5000);
if (treasury !== null) assert.equal((await connection.getBalance(treasury)) - held, fee - half);
assert.equal(await connection.getBalance(referrer), half);
const paid = await program.account.submission.fetch(submission);
assert.equal(paid.gradientCid, GRADIENT_CID);
assert.equal(paid.contributionBps, 10_000);
assert.equal(paid.rewardClaimed, true);
assert.deepEqual((await program.account.round.fetch(round)).status, { completed: {} });
const claimed = await heard("RewardClaimed");
assert.ok(claimed.event.trainer.equals(trainer.key));
assert.ok(claimed.event.amount.eq(new BN(REWARD - FEE - fee)));
if (treasury !== null) assert.deepEqual([claimed.event.treasuryFee.toNumber(), claimed.event.referrerFee.toNumber()], [fee - half, half]);

// A second round, which its validator aborts if the revision supports that.
if (methods.abortRound !== undefined) {
  const next = new BN(1);
  await program.methods.createRound(next, MODEL_CID, { mnist: {} }, new BN(REWARD)).rpc();
  const wanted = { creator: creator.key };
  await assert.rejects(methods.abortRound(next).accounts(wanted).rpc(), (error) => {
    assert.deepEqual(error.error.errorCode, { code: "CannotAbort", number: 6022 });
    return true;
  });
  await methods.claimRound(next).rpc();
  const spent = await connection.getBalance(creator.key);
  await methods.abortRound(next).accounts(wanted).rpc();
  assert.ok((await connection.getBalance(creator.key)) - spent > REWARD);
  const aborted = await heard("RoundAborted");
  assert.ok(aborted.event.validator.equals(validator.key));
  assert.ok(aborted.event.refundAmount.eq(new BN(REWARD)));
}

for (const number of numbers) await program.removeEventListener(number);
const names = events.map((entry) => entry.name);
console.log(JSON.stringify({ creator: creator.key.toBase58(), trainer: trainer.key.toBase58(), signature, names }));
