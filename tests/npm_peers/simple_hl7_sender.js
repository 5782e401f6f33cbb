// Sends reports with simple-hl7, built and framed by it, over one connection, each after the answer
// to the one before: node simple_hl7_sender.js PORT COUNT. Prints the answers as one line of JSON.
'use strict';

const path = require('path');

const hl7 = require(path.join(process.env.NPM_PEERS, 'node_modules', 'simple-hl7'));

const [port, count] = process.argv.slice(2).map(Number);

function report(number) {
  const message = new hl7.Message(
    'SIMPLE', 'NODE', 'RADLOOP', 'LAB', '20260301120000', '',
    ['ORU', 'R01', 'ORU_R01'], `N${number}`, 'P', '2.5.1', '', '', '', '', '', 'UNICODE UTF-8');
  message.addSegment('PID', '1', '', [`P${number}`, '', '', 'HOSP', 'MR'], '', ['Größe', 'Zoë'],
    '', '19700101', 'F');
  message.addSegment('ORC', 'RE', `O${number}`, `F${number}`);
  const order = ['1', `O${number}`, `F${number}`, ['MR', 'MR lumbar spine', 'L'], '', '',
    '20260228101500', '', '', '', '', '', '', '', '', '', '', `A${number}`, '', '', '',
    '20260301115900', '', 'MR', 'F'];
  message.addSegment('OBR', ...order);
  message.addSegment('OBX', '1', 'TX', '&GDT', '', 'FINDINGS: Bandscheibe flach, 3 µm.',
    '', '', '', '', '', 'F');
  return message;
}

const client = hl7.Server.createTcpClient({ host: '127.0.0.1', port, keepalive: true });
const answers = [];

function sendNext() {
  if (answers.length === count) {
    client.close();
    console.log(JSON.stringify(answers));
    return;
  }
  client.send(report(answers.length), (error, answer) => {
    if (error) {
      console.error(String(error));
      process.exit(1);
    }
    const msa = answer.getSegment('MSA');
    answers.push([String(msa.getField(1)), String(msa.getField(2))]);
    // The library clears its buffer only after this call.
    setImmediate(sendNext);
  });
}

sendNext();
