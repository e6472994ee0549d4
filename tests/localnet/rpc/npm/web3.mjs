// An unmodified @solana/web3.js against an RPC server: node web3.mjs RPC_URL PROGRAM_ID
// An assertion fails, or the script exits and prints what it created as one line of JSON.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  Connection,
  Keypair,
  LAMPORTS_PER_SOL,
  PublicKey,
  SendTransactionError,
  SystemProgram,
  Transaction,
  TransactionInstruction,
  TransactionMessage,
  VersionedTransaction,
  sendAndConfirmTransaction,
} from "@solana/web3.js";
import bs58 from "bs58";

const MODEL_CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";
const MNIST = 2;
const REWARD = 5_000_000n;
const PATIENCE_MS = 10_000;

const [url, programAddress] = process.argv.slice(2);
const programId = new PublicKey(programAddress);
const connection = new Connection(url, "confirmed");
const payer = Keypair.generate();

const discriminator = (namespace, name) =>
  createHash("sha256").update(`${namespace}:${name}`).digest().subarray(0, 8);
const u64 = (value) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
const text = (value) => {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(Buffer.byteLength(value));
  return Buffer.concat([length, Buffer.from(value)]);
};
const address = (...seeds) => PublicKey.findProgramAddressSync(seeds, programId)[0];
const counter = address(Buffer.from("round_counter"));
const roundAddress = (id) => address(Buffer.from("round"), u64(id));
const vaultAddress = (id) => address(Buffer.from("vault"), u64(id));

const writable = (pubkey) => ({ pubkey, isSigner: false, isWritable: true });
const signer = { pubkey: payer.publicKey, isSigner: true, isWritable: true };
const system = { pubkey: SystemProgram.programId, isSigner: false, isWritable: false };

const initialize = new TransactionInstruction({
  programId,
  keys: [writable(counter), signer, system],
  data: discriminator("global", "initialize"),
});
const createRound = (id, cid = MODEL_CID) =>
  new TransactionInstruction({
    programId,
    keys: [writable(counter), writable(roundAddress(id)), writable(vaultAddress(id)), signer, system],
    data: Buffer.concat([
      discriminator("global", "create_round"),
      u64(id),
      text(cid),
      Buffer.from([MNIST]),
      u64(REWARD),
    ]),
  });

// Reads the first fields of a Round account or a RoundCreated event; the creator is the second field in both.
function readRound(data, kind, name) {
  assert.deepEqual(data.subarray(0, 8), discriminator(kind, name));
  const end = 52 + data.readUInt32LE(48);
  return {
    id: data.readBigUInt64LE(8),
    creator: new PublicKey(data.subarray(16, 48)).toBase58(),
    modelCid: data.subarray(52, end).toString(),
    dataset: data[end],
    reward: data.readBigUInt64LE(end + 1),
    rest: data.subarray(end + 9),
  };
}

// Collects the calls of a listener, and waits for a number of them.
function collect() {
  const heard = [];
  let wake = () => {};
  const listener = (...values) => {
    heard.push(values);
    wake();
  };
  const atLeast = async (count) => {
    const deadline = setTimeout(() => {
      throw new Error(`heard ${heard.length} notifications, not ${count}`);
    }, PATIENCE_MS);
    while (heard.length < count) await new Promise((resolve) => (wake = resolve));
    clearTimeout(deadline);
    return heard;
  };
  return { heard, listener, atLeast };
}

async function confirm(signature, latest, commitment) {
  const confirmed = await connection.confirmTransaction({ signature, ...latest }, commitment);
  assert.equal(confirmed.value.err, null);
}

async function theCluster() {
  assert.match((await connection.getVersion())["solana-core"], /^\d+\.\d+\.\d+$/);
  assert.equal(new PublicKey(await connection.getGenesisHash()).toBytes().length, 32);
  const slot = await connection.getSlot();
  assert.ok((await connection.getBlockHeight()) >= slot);
  assert.ok((await connection.getEpochInfo()).absoluteSlot >= slot);
  assert.ok((await connection.getBlockTime(slot)) > 1_600_000_000);
  assert.ok((await connection.getRecentPrioritizationFees()).length > 0);
  assert.equal(await connection.getMinimumBalanceForRentExemption(0), 890_880);
  const { blockhash } = await connection.getLatestBlockhash();
  assert.equal((await connection.isBlockhashValid(blockhash)).value, true);
}

async function money() {
  const latest = await connection.getLatestBlockhash();
  const signature = await connection.requestAirdrop(payer.publicKey, 10 * LAMPORTS_PER_SOL);
  await confirm(signature, latest, "confirmed");
  assert.equal(await connection.getBalance(payer.publicKey), 10 * LAMPORTS_PER_SOL);
}

async function aRound() {
  const logs = collect();
  const account = collect();
  const programs = collect();
  const slots = collect();
  const roots = collect();
  const rounds = [{ memcmp: { offset: 0, bytes: bs58.encode(discriminator("account", "Round")) } }];
  const numbers = {
    logs: connection.onLogs(programId, logs.listener),
    account: connection.onAccountChange(roundAddress(0), account.listener),
    programs: connection.onProgramAccountChange(programId, programs.listener, { filters: rounds }),
    slots: connection.onSlotChange(slots.listener),
    roots: connection.onRootChange(roots.listener),
  };
  // Requests over one connection keep their order: once slots arrive, the earlier subscriptions are active.
  await slots.atLeast(1);

  await sendAndConfirmTransaction(connection, new Transaction().add(initialize), [payer]);
  const signature = await sendAndConfirmTransaction(connection, new Transaction().add(createRound(0)), [payer]);

  const filters = [...rounds, { memcmp: { offset: 8, bytes: bs58.encode(u64(0)) } }];
  const found = await connection.getProgramAccounts(programId, { filters });
  assert.deepEqual(found.map((entry) => entry.pubkey.toBase58()), [roundAddress(0).toBase58()]);
  const data = found[0].account.data;
  const round = readRound(data, "account", "Round");
  assert.equal(round.id, 0n);
  assert.equal(round.creator, payer.publicKey.toBase58());
  assert.equal(round.modelCid, MODEL_CID);
  assert.equal(round.dataset, MNIST);
  assert.equal(round.reward, REWARD);
  assert.equal(round.rest[0], 0); // WaitingValidator
  assert.equal(found[0].account.owner.toBase58(), programId.toBase58());

  const sized = { filters: [{ dataSize: data.length }], dataSlice: { offset: 16, length: 32 } };
  const [slice] = await connection.getProgramAccounts(programId, sized);
  assert.deepEqual(slice.account.data, payer.publicKey.toBuffer());
  const none = { filters: [{ memcmp: { offset: 8, bytes: bs58.encode(u64(99)) } }] };
  assert.deepEqual(await connection.getProgramAccounts(programId, none), []);
  assert.deepEqual((await connection.getAccountInfo(roundAddress(0))).data, data);
  assert.equal(await connection.getAccountInfo(roundAddress(99)), null);
  const several = await connection.getMultipleAccountsInfo([roundAddress(0), roundAddress(99)]);
  assert.deepEqual(several.map((entry) => entry && entry.data), [data, null]);
  assert.deepEqual((await connection.getParsedAccountInfo(roundAddress(0))).value.data, data);

  const heard = (await logs.atLeast(2)).find(([entry]) => entry.signature === signature);
  assert.equal(heard[0].err, null);
  const line = heard[0].logs.find((entry) => entry.startsWith("Program data: "));
  const event = readRound(Buffer.from(line.slice("Program data: ".length), "base64"), "event", "RoundCreated");
  const { id, creator, modelCid, dataset, reward } = round;
  assert.deepEqual({ ...event, rest: undefined }, { id, creator, modelCid, dataset, reward, rest: undefined });
  assert.ok(heard[0].logs.some((entry) => entry.startsWith("Program log: Round 0 created.")));
  const [[changed, context]] = await account.atLeast(1);
  assert.deepEqual(changed.data, data);
  assert.equal(context.slot, heard[1].slot);
  const [[keyed]] = await programs.atLeast(1);
  assert.equal(keyed.accountId.toBase58(), roundAddress(0).toBase58());
  const [[root]] = await roots.atLeast(1);
  assert.ok(root < slots.heard.at(-1)[0].slot);

  await connection.removeOnLogsListener(numbers.logs);
  await connection.removeAccountChangeListener(numbers.account);
  await connection.removeProgramAccountChangeListener(numbers.programs);
  await connection.removeSlotChangeListener(numbers.slots);
  await connection.removeRootChangeListener(numbers.roots);
  return { signature, heard: logs.heard.length };
}

async function history(signature) {
  const [entry] = await connection.getSignaturesForAddress(roundAddress(0), { limit: 5 });
  assert.equal(entry.signature, signature);
  assert.equal(entry.err, null);
  const landed = await connection.getTransaction(signature, { maxSupportedTransactionVersion: 0 });
  assert.equal(landed.meta.err, null);
  assert.equal(landed.meta.fee, 5000);
  assert.equal(landed.version, "legacy");
  assert.equal(landed.blockTime, entry.blockTime);
  assert.deepEqual(landed.transaction.message.accountKeys[0], payer.publicKey);
  const parsed = await connection.getParsedTransaction(signature, { maxSupportedTransactionVersion: 0 });
  assert.equal(parsed.transaction.message.accountKeys[0].signer, true);
  assert.ok(parsed.meta.logMessages.some((line) => line.includes("Round 0 created.")));
  const status = (await connection.getSignatureStatus(signature)).value;
  assert.equal(status.slot, entry.slot);
  assert.equal(status.err, null);
  assert.equal(await connection.getTransaction(bs58.encode(Buffer.alloc(64, 1)), {}), null);
}

async function compiled(...instructions) {
  const latest = await connection.getLatestBlockhash();
  const message = new TransactionMessage({
    payerKey: payer.publicKey,
    recentBlockhash: latest.blockhash,
    instructions,
  }).compileToV0Message();
  const transaction = new VersionedTransaction(message);
  transaction.sign([payer]);
  return { latest, message, transaction };
}

async function aVersionedTransaction() {
  const { latest, message, transaction } = await compiled(createRound(1));
  assert.equal((await connection.getFeeForMessage(message)).value, 5000);
  const simulated = (await connection.simulateTransaction(transaction, { sigVerify: true })).value;
  assert.equal(simulated.err, null);
  assert.ok(simulated.unitsConsumed > 0);
  const signature = await connection.sendTransaction(transaction, { maxRetries: 3 });
  await confirm(signature, latest, "confirmed");
  const landed = await connection.getTransaction(signature, { maxSupportedTransactionVersion: 0 });
  assert.equal(landed.version, 0);
  // Sending it again has no effect: the preflight rejects it, and without preflight the server accepts it.
  const wire = transaction.serialize();
  await assert.rejects(connection.sendRawTransaction(wire), /already been processed/);
  assert.equal(await connection.sendRawTransaction(wire, { skipPreflight: true }), signature);
  // The transaction is found once it is final.
  await confirm(signature, latest, "finalized");
  const final = { commitment: "finalized", maxSupportedTransactionVersion: 0 };
  assert.equal((await connection.getTransaction(signature, final)).slot, landed.slot);
}

async function failures() {
  const refused = new Transaction().add(createRound(2, "too short"));
  await assert.rejects(sendAndConfirmTransaction(connection, refused, [payer]), (error) => {
    assert.ok(error instanceof SendTransactionError);
    assert.match(error.transactionError.message, /custom program error: 0x1770/);
    assert.ok(error.logs.some((line) => line.includes("Error Code: InvalidCid")));
    return true;
  });
  const { transaction } = await compiled(createRound(2, "too short"));
  const signature = bs58.encode(transaction.signatures[0]);
  const outcome = collect();
  const slots = collect();
  connection.onSignature(signature, outcome.listener);
  const number = connection.onSlotChange(slots.listener);
  await slots.atLeast(1);
  await connection.removeSlotChangeListener(number);
  await connection.sendRawTransaction(transaction.serialize(), { skipPreflight: true });
  const [[result]] = await outcome.atLeast(1);
  assert.deepEqual(result.err, { InstructionError: [0, { Custom: 6000 }] });
  assert.equal(outcome.heard.length, 1);
}

await theCluster();
await money();
const { signature, heard } = await aRound();
await history(signature);
await aVersionedTransaction();
await failures();
// The listener must not hear the transactions after its removal.
console.log(JSON.stringify({ creator: payer.publicKey.toBase58(), signature, heard }));
