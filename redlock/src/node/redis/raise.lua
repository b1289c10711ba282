-- Lets no counter stand below the token, where every lock key holds the claim's value.
-- Keys: n lock keys, then their fencing counters. Arguments: value, token.
-- Answers 1, or 0 where a key does not hold the value.
reply = 1
for i = k, k + n - 1 do
  -- Without this a holder whose lease is over could record a token that the next one has.
  if call('GET', KEYS[i]) ~= ARGV[a] then
    reply = 0
  end
end
for i = k + n, k + 2 * n - 1 do
  local stored = reply == 1 and call('GET', KEYS[i])
  local counter = not stored and 0 or type(stored) == 'string' and tonumber(stored)
  local answer = nil
  if not counter then
    reply = { 'BADCOUNTER ' .. KEYS[i] .. ' holds no token below 2^53' }
  elseif reply == 1 and counter < tonumber(ARGV[a + 1]) then
    answer = call('SET', KEYS[i], ARGV[a + 1], 'PX', COUNTER_TTL)
  end
  if answer and answer.err then
    reply = { answer.err }
  end
end
k, a = k + 2 * n, a + 2
