-- Lets every key live at least the ttl from now, where all of them hold the claim's value.
-- Keys: n lock keys, then their fencing counters. Register: ttl in milliseconds. Arguments: value,
-- token.
-- Answers 1, or 0 where a key does not hold the value.
reply = 1
for i = k, k + n - 1 do
  if call('GET', KEYS[i]) ~= ARGV[a] then
    reply = 0
  end
end
if reply == 1 then
  for i = k, k + n - 1 do
    local answer, left = 1, call('PTTL', KEYS[i])
    -- A renewal with a shorter ttl must not cut a longer lease.
    if type(left) ~= 'number' then
      answer = left
    elseif left < tonumber(ttl) then
      answer = call('PEXPIRE', KEYS[i], ttl)
    end
    -- A counter must not end before the lease whose token it holds.
    if answer == 1 and call('PEXPIRE', KEYS[n + i], COUNTER_TTL) ~= 1 then
      answer = call('SET', KEYS[n + i], ARGV[a + 1], 'PX', COUNTER_TTL)
    end
    if type(answer) == 'table' and answer.err then
      reply = { answer.err }
    end
  end
end
k, a = k + 2 * n, a + 2
